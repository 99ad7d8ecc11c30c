use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CHUNK_BYTES: usize = 64 * 1024;

/// A proxy on loopback that lets what is sent through it pass at this rate, and answers at any. Gives its URL; serves
/// as long as the test runs.
pub async fn slow_proxy(upstream_url: &str, bytes_per_s: u32) -> String {
    let upstream = upstream_url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&upstream).await.expect("the upstream listens");
            tokio::spawn(pass(client, upstream, bytes_per_s));
        }
    });
    url
}

async fn pass(client: TcpStream, upstream: TcpStream, bytes_per_s: u32) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_upstream, &mut to_client).await });
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
        let bytes = u32::try_from(length).expect("a chunk is small");
        // The rate itself, and not a wait for anything.
        tokio::time::sleep(Duration::from_secs(1) * bytes / bytes_per_s).await;
        if to_upstream.write_all(&chunk[..length]).await.is_err() {
            break;
        }
    }
    answers.abort();
}
