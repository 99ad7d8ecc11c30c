//! How a command that fails says so: reason first, then what to do; and to a shell, by its exit code.

use std::env;

use bcrlapi::ClientError;
use bcrlapi_domain::IdempotencyKey;
use serde_json::json;

use crate::interrupt::Interrupted;
use crate::output::{print_json, say};
use crate::printable::printable_lines;
use crate::wait::TimedOut;

pub(crate) const OK: u8 = 0;
pub(crate) const JOB_FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;
const TIMED_OUT: u8 = 5;

/// Where a proxy is named, also in lower case.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// A submit of which nobody knows whether it has arrived.
#[derive(Debug, thiserror::Error)]
#[error("{why:#}; the job may have been submitted anyway")]
pub(crate) struct Unsure {
    key: IdempotencyKey,
    why: anyhow::Error,
}

impl Unsure {
    pub(crate) fn new(key: IdempotencyKey, why: anyhow::Error) -> Self {
        Self { key, why }
    }
}

/// Says what went wrong, and gives the exit code. As JSON, what the API has refused is printed as the API says it.
pub(crate) fn report(error: &anyhow::Error, is_json: bool) -> u8 {
    let next = next_step(error);
    say(&format!("error: {}", printable_lines(&format!("{error:#}"), 2)));
    if let Some(next) = &next {
        say(&format!("next: {next}"));
    }
    if is_json {
        // That standard output is closed is told by the exit code all the same.
        let _ = print_json(&problem(error, next.as_deref()));
    }
    code_of(error)
}

/// The API's own document; of an error that is not the API's, one of the same form (RFC 9457).
fn problem(error: &anyhow::Error, next: Option<&str>) -> serde_json::Value {
    match error.downcast_ref() {
        Some(ClientError::Refused { problem, .. }) => json!(problem),
        _ => json!({"type": "about:blank", "title": "Error", "detail": format!("{error:#}"), "next": next}),
    }
}

/// What to do about it, where the answer does not say so already.
fn next_step(error: &anyhow::Error) -> Option<String> {
    if let Some(unsure) = error.downcast_ref::<Unsure>() {
        let key = unsure.key.as_str();
        return Some(format!("submit again with --idempotency-key {key}: that never creates a second job"));
    }
    if let Some(waiting) = error.downcast_ref::<TimedOut>() {
        return Some(format!("bcrlapi wait {}", waiting.id));
    }
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return interrupted.job.map(|id| format!("bcrlapi wait {id}, or bcrlapi cancel {id}"));
    }
    error.downcast_ref().and_then(next_of)
}

fn next_of(error: &ClientError) -> Option<String> {
    let next = match error {
        ClientError::Refused { problem, .. } => match problem.code() {
            "job-failed" => "fix the input as the program's error says, and submit again",
            "job-canceled" | "job-lost" => "submit again",
            "no-such-path" => "leave out /v1 and what follows in the URL",
            "result-not-ready" => "wait for the job's end: bcrlapi wait with its uuid",
            "forbidden" if says(&problem.detail, "clock") || says(&problem.detail, "signature expired") => {
                "set this computer's clock"
            }
            "forbidden" if says(&problem.detail, "expired") => "get new credentials, such as by aws sso login",
            "forbidden" => {
                "check the keys (for bcrlapi-local: . .bcrlapi/env), and that the region is the API's: --region"
            }
            _ => return None,
        },
        ClientError::Redirected { .. } => {
            "a proxy or a login page may be in between: log in there. Otherwise check the URL: https:// and the host"
        }
        ClientError::Unexpected { what, .. } if is_of_gateway(what) => {
            "check the URL: it may lack its stage, such as /prod; or your policies do not allow this call"
        }
        ClientError::Unexpected { .. } => "check the URL; or log in, if the network asks for it",
        ClientError::Unreachable { host, reason, .. } => return Some(way_to(host, reason).to_owned()),
        ClientError::Corrupted(_) => "fetch it again; if that does not help, something in between changes it",
        ClientError::Unsigned { next, .. } => return next.clone(),
        ClientError::BadUrl(_) | ClientError::NotWritten(_) => return None,
    };
    Some(next.to_owned())
}

/// API Gateway's own words where no API of ours is.
fn is_of_gateway(what: &str) -> bool {
    says(what, "\"forbidden\"") || says(what, "missing authentication token")
}

fn way_to(host: &str, reason: &str) -> &'static str {
    if says(reason, "certificate") {
        "if your proxy inspects TLS, set AWS_CA_BUNDLE or SSL_CERT_FILE to its CA certificate"
    } else if says(reason, "InvalidContentType") {
        "this port does not speak TLS: is it http:// instead of https://?"
    } else if host.starts_with("127.") || host.starts_with("localhost") {
        "is `bcrlapi-local up` running? it prints the URL, and writes it to .bcrlapi/env"
    } else if PROXIES.iter().any(|name| env::var_os(name).is_some()) {
        "check the proxy that HTTPS_PROXY or HTTP_PROXY names, then the URL and the network"
    } else if says(reason, "lookup") {
        "check the host in the URL, and the network"
    } else {
        "check the URL and the network; behind a proxy, set HTTPS_PROXY"
    }
}

/// Whether the word is in the text, in any letter case.
fn says(text: &str, word: &str) -> bool {
    text.to_ascii_lowercase().contains(&word.to_ascii_lowercase())
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<TimedOut>() {
        return TIMED_OUT;
    }
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return interrupted.exit_code();
    }
    if let Some(unsure) = error.downcast_ref::<Unsure>() {
        return code_of(&unsure.why);
    }
    match error.downcast_ref() {
        Some(ClientError::Refused { problem, .. }) if problem.code().starts_with("job-") => JOB_FAILED,
        Some(ClientError::Unexpected { status, .. }) if status.is_server_error() => UNREACHABLE,
        Some(ClientError::Refused { .. } | ClientError::Unexpected { .. } | ClientError::Redirected { .. }) => REFUSED,
        Some(ClientError::Unreachable { .. } | ClientError::Corrupted(_)) => UNREACHABLE,
        Some(ClientError::BadUrl(_) | ClientError::Unsigned { .. } | ClientError::NotWritten(_)) | None => USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_tls_is_told_from_one_where_nobody_listens() {
        let without_tls = way_to("127.0.0.1:9000", "received corrupt message of type InvalidContentType");
        assert!(without_tls.contains("http://"), "{without_tls}");
        assert!(way_to("127.0.0.1:9000", "Connection refused").contains("bcrlapi-local up"));
    }
}
