//! What a web page sends, and no server of ours answers.
//!
//! A page in a browser reaches loopback as every program of its computer does. It gets to read an answer that names its
//! origin (CORS), or one that comes from its own host; and its own host's name it can lead to 127.0.0.1 (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

/// The one name that is always this computer's.
const LOCALHOST: &str = "localhost";

/// Refuses, in words for the caller, what a page has sent to a server that listens on loopback.
pub fn refuse_page(headers: &HeaderMap) -> Result<(), &'static str> {
    refuse_origin(headers)?;

    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err("the request must name one host");
    };

    if host.to_str().is_ok_and(is_this_computer) {
        Ok(())
    } else {
        Err("the request names another host; use 127.0.0.1 or localhost in its URL")
    }
}

/// Refuses what says that a page has sent it. Browsers say so of each request whose answer a page of another host may
/// read, and nobody else does.
pub(crate) fn refuse_origin(headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(ORIGIN) {
        return Err("requests of web pages are not answered; send this one from a program, without an Origin header");
    }

    Ok(())
}

/// Whether a `Host` names loopback, by an address that no name server can change. At any port: what stands in front, such
/// as a proxy, has one of its own.
fn is_this_computer(host: &str) -> bool {
    let address = host.parse().map(|address: SocketAddr| address.ip()).or_else(|_| host.parse::<IpAddr>());
    if let Ok(address) = address {
        return address.is_loopback();
    }

    match host.split_once(':') {
        Some((name, port)) => name.eq_ignore_ascii_case(LOCALHOST) && port.parse::<u16>().is_ok(),
        None => host.eq_ignore_ascii_case(LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_this_computer() {
        for host in ["127.0.0.1", "127.0.0.1:9000", "[::1]:9464", "localhost", "LocalHost:80", "127.1.2.3:1"] {
            assert!(is_this_computer(host), "{host}");
        }

        for host in [
            "",
            "evil.example",
            "evil.example:9000",
            "127.0.0.1.evil.example:9000",
            "localhost.evil.example",
            "evil.localhost",
            "localhost:",
            "localhost:99999",
            "127.0.0.1:99999",
            "10.0.0.1:9000",
            "user@127.0.0.1",
            "0.0.0.0:9000",
        ] {
            assert!(!is_this_computer(host), "{host}");
        }
    }
}
