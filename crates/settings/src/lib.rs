//! Settings from the environment: what an editor, a shell or a file of settings leaves in a value unseen, found before
//! it becomes an error that nobody understands.

#[cfg(feature = "aws")]
pub mod aws;

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;

/// Beginnings of the names that are ours, or of a family of the AWS SDKs.
const PREFIXES: [&str; 3] = ["AWS_CONTAINER_", "AWS_ENDPOINT_URL", "BCRLAPI_"];
/// Names of the AWS SDKs. Not all that begins with `AWS_`: people keep keys in PEM form there too.
const OF_AWS: [&str; 13] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];
/// Names that others have given, in any case.
const OTHERS: [&str; 6] = ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSL_CERT_FILE"];
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A setting whose value cannot be what was meant. The value is not shown: it may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {fault}")]
pub struct BadSetting {
    /// The variable or option, such as `AWS_REGION`.
    pub name: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What Windows has at the end of a line.
    #[error("contains a carriage return (Windows line ends): save the file with LF line ends")]
    CarriageReturn,
    /// What some editors of Windows write at the beginning of a file.
    #[error("contains a byte order mark: save the file as UTF-8 without BOM")]
    ByteOrderMark,
    /// Any other character that nobody sees.
    #[error("contains a control character: set it again without it")]
    ControlCharacter,
    /// A space in front or behind.
    #[error("begins or ends with a space: set it again without it")]
    Space,
    /// Not text at all.
    #[error("is not UTF-8: set it again")]
    NotUtf8,
}

/// Looks at every variable of the environment that this project, the AWS SDKs or their HTTP clients read.
///
/// # Errors
///
/// The first that cannot be what was meant, in the order of the names.
pub fn check_environment() -> Result<(), BadSetting> {
    let mut variables: Vec<_> = env::vars_os().collect();
    variables.sort();

    for (name, value) in variables {
        let name = name.to_string_lossy();
        // A mark at the beginning of a file of settings becomes part of its first name.
        let plain_name = name.trim_start_matches(BYTE_ORDER_MARK);
        if !is_ours(plain_name) {
            continue;
        }
        if plain_name != name {
            return Err(BadSetting { name: plain_name.to_owned(), fault: Fault::ByteOrderMark });
        }
        check_os(plain_name, &value)?;
    }
    Ok(())
}

/// Looks at a value that has come another way, such as an option.
///
/// # Errors
///
/// What is wrong with it.
///
/// ```
/// use bcrlapi_settings::check;
///
/// assert!(check("--region", "ap-northeast-1").is_ok());
/// let error = check("--region", "ap-northeast-1\r").unwrap_err();
/// assert!(error.to_string().starts_with("--region contains a carriage return"));
/// ```
pub fn check(name: &str, value: &str) -> Result<(), BadSetting> {
    match fault_of(name, value) {
        Some(fault) => Err(BadSetting { name: name.to_owned(), fault }),
        None => Ok(()),
    }
}

/// Whether colors belong on this stream: it is a terminal, and `NO_COLOR` does not say that nobody wants them.
/// Source: no-color.org.
pub fn shows_colors(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
}

fn check_os(name: &str, value: &OsStr) -> Result<(), BadSetting> {
    match value.to_str() {
        Some(text) => check(name, text),
        // A path may be any bytes.
        None if is_path(name) => Ok(()),
        None => Err(BadSetting { name: name.to_owned(), fault: Fault::NotUtf8 }),
    }
}

fn fault_of(name: &str, value: &str) -> Option<Fault> {
    if value.contains('\r') {
        Some(Fault::CarriageReturn)
    } else if value.contains(BYTE_ORDER_MARK) {
        Some(Fault::ByteOrderMark)
    } else if value.contains(char::is_control) {
        Some(Fault::ControlCharacter)
    } else if value.trim() != value && !is_path(name) {
        Some(Fault::Space)
    } else {
        None
    }
}

fn is_ours(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || OF_AWS.contains(&name)
        || OTHERS.contains(&name.to_ascii_uppercase().as_str())
}

/// Whether the value is a path, which may have spaces anywhere.
fn is_path(name: &str) -> bool {
    ["_SHARED", "_FILE", "_DIR", "_BUNDLE"].iter().any(|end| name.to_ascii_uppercase().ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_in_a_value_is_named() {
        for (value, fault) in [
            ("eu-west-1\r", Some(Fault::CarriageReturn)),
            ("\u{feff}eu-west-1", Some(Fault::ByteOrderMark)),
            ("eu-\u{7}west-1", Some(Fault::ControlCharacter)),
            ("eu-west-1\n", Some(Fault::ControlCharacter)),
            ("eu-west-1 ", Some(Fault::Space)),
            ("\u{3000}eu-west-1", Some(Fault::Space)),
            ("eu-west-1", None),
            ("", None),
        ] {
            assert_eq!(fault_of("AWS_REGION", value), fault, "{value:?}");
        }
        assert_eq!(fault_of("BCRLAPI_SHARED", " /mnt/a b "), None, "a folder may have such a name");
    }

    #[test]
    fn the_names_that_are_looked_at_are_those_that_are_read() {
        for name in ["AWS_REGION", "BCRLAPI_URL", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["PS1", "LS_COLORS", "MY_AWS_KEY", "AWS_SSH_KEY", "PROXY"] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn the_value_is_not_shown() {
        let error = check("AWS_SECRET_ACCESS_KEY", "SECRET\r").unwrap_err();
        assert!(!error.to_string().contains("SECRET\r"));
    }
}
