use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const CHUNK_BYTES: usize = 64 * 1024;

/// A proxy on loopback that lets what is sent through it pass at this rate, and answers at any. Gives its URL; serves
/// as long as the test runs.
pub async fn slow_proxy(upstream_url: &str, bytes_per_s: u32) -> String {
    serve(upstream_url, move |client, upstream| pass_slowly(client, upstream, bytes_per_s)).await
}

/// A proxy on loopback whose connections can all be cut, so that nothing gets through until they are mended. Gives its
/// URL, and what cuts it.
pub async fn cuttable_proxy(upstream_url: &str) -> (String, Cut) {
    let cut = Cut::default();
    let of_proxy = cut.clone();
    let url = serve(upstream_url, move |client, upstream| pass_unless_cut(client, upstream, of_proxy.clone())).await;
    (url, cut)
}

/// Cuts a proxy's connections.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    is_cut: Arc<AtomicBool>,
    now: Arc<Notify>,
}

impl Cut {
    /// Ends all connections, and every new one at once.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.now.notify_waiters();
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

/// Serves every connection with `pass`, as long as the test runs.
async fn serve<F>(upstream_url: &str, pass: impl Fn(TcpStream, TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let upstream = upstream_url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&upstream).await.expect("the upstream listens");
            tokio::spawn(pass(client, upstream));
        }
    });
    url
}

async fn pass_slowly(client: TcpStream, upstream: TcpStream, bytes_per_s: u32) {
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

async fn pass_unless_cut(mut client: TcpStream, mut upstream: TcpStream, cut: Cut) {
    let now = cut.now.notified();
    if !cut.is_cut.load(Ordering::SeqCst) {
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut upstream) => {}
            () = now => {}
        }
    }
}
