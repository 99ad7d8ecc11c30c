//! Whether an agent on this computer works, for who watches over its container.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long the agent may take for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const ANSWER_BYTES: u64 = 4096;

/// Asks the agent that serves its metrics at this address; says whether it works, and the agent's own words for it.
/// Nothing is asked of the cloud.
///
/// # Errors
///
/// Nobody answers there.
pub fn health(metrics: SocketAddr) -> io::Result<(bool, String)> {
    let address = SocketAddr::new(reached_at(metrics.ip()), metrics.port());
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET /health HTTP/1.0\r\nHost: {address}\r\n\r\n")?;

    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, words) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1);
    Ok((status == Some("200"), words.trim_end().to_owned()))
}

/// Who listens on all addresses is reached on loopback.
fn reached_at(listens_on: IpAddr) -> IpAddr {
    match listens_on {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
