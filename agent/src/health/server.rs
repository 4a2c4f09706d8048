//! Edge: answers health checks on a TCP port of this guest. Deliberately minimal and without a crate: one request, one
//! answer, the connection closed. An HTTP library would be larger than the rest of the daemon's network code and would
//! keep connections, which is memory that others decide about.
//!
//! It lives on the daemon's one thread and cannot hold it up: connections, their time, their bytes and their rate are
//! bounded, and what it knows is a finished value that the daemon leaves for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::Health;
use super::request::{MAX_REQUEST_BYTES, answer, is_complete};

/// Connections at once: a few balancers with a few checks each. Others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16;

/// From accepted to closed. Whoever is slower than this has given up already.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two connections: a flood is served at 200 a second, a hundredth of a core, and not faster.
const PAUSE: Duration = Duration::from_millis(5);

/// After the system had no descriptor or memory for a connection.
const REST: Duration = Duration::from_millis(500);

/// Until an address that could not be had is tried again: the network may come up later than this daemon.
const RETRY: Duration = Duration::from_secs(5);

/// Reads behind the answer, so that the kernel does not take it back because of what was still on its way.
const DRAIN_READS: usize = 32;

/// Opens the port, as soon as it can be had, and serves until the runtime ends. `health` is what holds now.
pub async fn run(address: SocketAddr, health: watch::Receiver<Arc<Health>>) {
    let mut told = false;
    let listener = loop {
        match bind(address) {
            Ok(listener) => break listener,
            Err(err) if told => tracing::debug!(%err, %address, "the health endpoint is still not open"),
            Err(err) => {
                tracing::warn!(%err, %address, "the health endpoint cannot be opened; it is tried again")
            }
        }
        told = true;
        sleep(RETRY).await;
    };
    tracing::info!(%address, "health checks are answered");
    serve(listener, health).await;
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn serve(listener: TcpListener, health: watch::Receiver<Arc<Health>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed, so there is always a place some time.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let health = health.clone();
                tokio::spawn(async move {
                    // Whoever does not ask in time is not answered, and whoever has gone need not be.
                    let _ = timeout(PATIENCE, converse(stream, &health)).await;
                    drop(place);
                });
                sleep(PAUSE).await;
            }
            Err(err) => {
                tracing::debug!(%err, "a health check could not be accepted");
                sleep(REST).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, health: &watch::Receiver<Arc<Health>>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    while !is_complete(&bytes) && bytes.len() < MAX_REQUEST_BYTES {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    let health = Arc::clone(&health.borrow());
    stream.write_all(&answer(&bytes, &health)).await?;
    stream.shutdown().await?;
    for _ in 0..DRAIN_READS {
        if stream.read(&mut buffer).await? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::ApplicationHealth;

    /// Long enough for a loaded machine; a test that waits this long has failed.
    const DEADLINE: Duration = Duration::from_secs(30);

    fn health(healthy: bool) -> Arc<Health> {
        let (name, status, colour) = ("a".to_owned(), "NORMAL".to_owned(), "GREEN".to_owned());
        let application = ApplicationHealth { name, status, colour, healthy, monitored: true };
        Arc::new(Health { healthy, applications: vec![application] })
    }

    /// A server with its address, and what it is told.
    fn server() -> (SocketAddr, watch::Sender<Arc<Health>>) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (say, told) = watch::channel(health(true));
        tokio::spawn(serve(listener, told));
        (address, say)
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let asking = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        timeout(DEADLINE, asking).await.expect("an answer in time")
    }

    const CHECK: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

    #[tokio::test]
    async fn a_check_is_answered_by_what_holds_now() {
        let (address, say) = server();
        assert!(ask(address, CHECK).await.starts_with("HTTP/1.1 200 "));
        say.send(health(false)).unwrap();
        assert!(ask(address, CHECK).await.starts_with("HTTP/1.1 503 "));
        let large = [b"GET /health HTTP/1.1\r\nX: ".as_slice(), &[b'y'; MAX_REQUEST_BYTES * 4]].concat();
        assert!(ask(address, &large).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn those_that_say_nothing_are_put_out_and_others_served() {
        let (address, _say) = server();
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS * 2 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address, CHECK).await.starts_with("HTTP/1.1 200 "));
        let mut end = [0];
        let closed = timeout(DEADLINE, silent[0].read(&mut end)).await.expect("closed in time");
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    }
}
