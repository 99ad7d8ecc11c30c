//! A job's input, from a file or from standard input.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bcrlapi_domain::limits::REQUEST_MAX_BYTES;

use crate::output::say;

const STANDARD_INPUT: &str = "-";

/// Reads the input: of this file, which may be written `@FILE`, or of standard input.
pub(crate) fn read_input(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let file = without_at(file.unwrap_or(Path::new(STANDARD_INPUT)));
    let (bytes, name) = if file == Path::new(STANDARD_INPUT) {
        (read_standard_input()?, "standard input".to_owned())
    } else {
        (read_file(&file)?, file.display().to_string())
    };

    if bytes.iter().all(u8::is_ascii_whitespace) {
        bail!("{name} is empty; a job's input is one JSON value, such as {{}}");
    }
    if bytes.len() > REQUEST_MAX_BYTES {
        bail!("{name} has {} bytes; a job's input has at most {REQUEST_MAX_BYTES} (4 MiB)", bytes.len());
    }
    Ok(bytes)
}

fn read_file(file: &Path) -> anyhow::Result<Vec<u8>> {
    let is_json = file.to_str().is_some_and(|name| name.trim_start().starts_with(['{', '[', '"']));
    if is_json && !file.exists() {
        bail!(
            "the input is the name of a file; pass JSON itself through standard input: echo '{{}}' | bcrlapi submit soc"
        );
    }
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn read_standard_input() -> anyhow::Result<Vec<u8>> {
    if io::stdin().is_terminal() {
        say("reading the input from the terminal; end it with Ctrl-D");
    }
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

/// The file of `@FILE`, as curl and the AWS CLI write it; a file that really has such a name comes first.
fn without_at(file: &Path) -> PathBuf {
    let stripped = file.to_str().and_then(|name| name.strip_prefix('@')).filter(|_| !file.exists());
    stripped.map_or_else(|| file.to_owned(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_written_with_an_at() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("@real");
        fs::write(&real, "").unwrap();
        assert_eq!(without_at(&real), real);
        assert_eq!(without_at(Path::new("@in.json")), Path::new("in.json"));
        assert_eq!(without_at(Path::new("@-")), Path::new("-"));
        assert_eq!(without_at(Path::new("in.json")), Path::new("in.json"));
    }
}
