//! What a web page sends, and no server of ours answers.
//!
//! A page in a browser reaches loopback as every program of its computer does. It gets to read an answer that names its
//! origin (CORS), or one that comes from its own host; and its own host's name it can lead to 127.0.0.1 (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

/// The one name that is always this computer's.
const LOCALHOST: &str = "localhost";

/// Refuses, in words for the caller, what a page has sent to a server that listens at this address.
pub fn refuse_page(headers: &HeaderMap, address: IpAddr) -> Result<(), &'static str> {
    refuse_origin(headers)?;

    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err("the request must name one host");
    };

    if host.to_str().is_ok_and(|host| names_server(host, address)) {
        Ok(())
    } else {
        Err("the request names another host; use the address of this server, or localhost, in its URL")
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

/// Whether a `Host` names loopback or the server's own address, which no name server can change. At any port: what stands
/// in front, such as a proxy, has one of its own.
fn names_server(host: &str, address: IpAddr) -> bool {
    let named = host.parse().map(|named: SocketAddr| named.ip()).or_else(|_| host.parse::<IpAddr>());
    if let Ok(named) = named {
        return named.is_loopback() || named == address;
    }

    match host.split_once(':') {
        Some((name, port)) => name.eq_ignore_ascii_case(LOCALHOST) && port.parse::<u16>().is_ok(),
        None => host.eq_ignore_ascii_case(LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn only_loopback_names_a_server_there() {
        let names_server = |host| names_server(host, Ipv4Addr::LOCALHOST.into());

        for host in ["127.0.0.1", "127.0.0.1:9000", "[::1]:9464", "localhost", "LocalHost:80", "127.1.2.3:1"] {
            assert!(names_server(host), "{host}");
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
            assert!(!names_server(host), "{host}");
        }
    }

    #[test]
    fn a_server_elsewhere_is_named_by_its_own_address_too() {
        let of_docker: IpAddr = "172.17.0.1".parse().unwrap();
        for host in ["172.17.0.1", "172.17.0.1:9001", "127.0.0.1:9001", "localhost"] {
            assert!(names_server(host, of_docker), "{host}");
        }
        for host in ["172.17.0.2:9001", "0.0.0.0:9001", "172.17.0.1.evil.example", "[::ffff:172.17.0.1]:9001"] {
            assert!(!names_server(host, of_docker), "{host}");
        }

        let of_ipv6: IpAddr = "fd00::2".parse().unwrap();
        assert!(names_server("[fd00:0::2]:9001", of_ipv6));
        assert!(!names_server("[fd00::3]:9001", of_ipv6));
    }
}
