//! Edge: serves the status endpoint on a thread and a runtime of its own.
//!
//! A client that is slow, malicious or gone costs a bounded place for a bounded time. See [`super`] for what it may cost
//! the trunk's thread.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use vmpulse_local::monitor_answer::Health;

use super::route::{Refusal, Route, route};
use super::tls::{TlsError, TlsFiles};
use super::{Question, Whole, metrics};
use crate::status::Status;

/// Connections at once on each of the two sockets: some scrapers and controllers. Others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;
/// Handshakes of TLS at once: whoever has no certificate takes no place from those who have.
const MAX_HANDSHAKES: usize = 8;
/// For a handshake. Whoever is slower than this has given up already.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(2);
/// For a request's head, also of the next one on the same connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request's head, and of an answer that waits to be sent: the least that hyper takes.
const BUFFER_BYTES: usize = 8192;
/// Most lines of a request's head. Scrapers have ten.
const MAX_HEADERS: usize = 32;
/// A connection's whole life: whoever reads slowly does not keep its place for ever, and others connect again.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// Between two connections by TCP: handshakes are some milliseconds' work each, a flood of them is a fraction of a core.
const TCP_PAUSE: Duration = Duration::from_millis(10);
/// The same on the Unix socket.
const UNIX_PAUSE: Duration = Duration::from_millis(1);
/// Between two questions to the trunk's thread, whoever asks. One costs it about 100 us, the turn of the loop that it brings
/// included (measured with an unoptimised build), so all of them a twentieth of its time at most.
const QUESTION_PAUSE: Duration = Duration::from_millis(2);
/// For an answer of the trunk's thread. A loop that turns answers in a millisecond.
const LOOP_PATIENCE: Duration = Duration::from_secs(1);
/// How old the copy of everything may be that is shown: so the trunk's thread makes one a second at most.
const COPY_LIFE: Duration = Duration::from_secs(1);
/// After the system had no descriptor or memory for a connection.
const REST: Duration = Duration::from_millis(500);
/// Until an address that could not be had is tried again: the network may come up later than this daemon.
const BIND_RETRY: Duration = Duration::from_secs(5);
/// Certificates are read anew this often, when somebody connects: they may have been renewed.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(60);

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The TCP side, as it is set up.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it proves itself with, and whom it believes.
    pub files: TlsFiles,
}

/// Serves until the other end of `questions` is gone.
pub async fn run(unix: UnixListener, tcp: Option<Tcp>, questions: mpsc::Sender<Question>) {
    let desk =
        Arc::new(Desk { questions: questions.clone(), line: Mutex::default(), copy: Mutex::default() });
    let by_tcp = async {
        match tcp {
            Some(tcp) => serve_tcp(&tcp, &desk).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serve_unix(&unix, &desk) => {}
        () = by_tcp => {}
        () = questions.closed() => {}
    }
}

async fn serve_unix(listener: &UnixListener, desk: &Arc<Desk>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(desk), place))),
            Err(error) => rest(&error).await,
        }
        sleep(UNIX_PAUSE).await;
    }
}

async fn serve_tcp(tcp: &Tcp, desk: &Arc<Desk>) {
    let listener = bind(tcp.address).await;
    let mut certificates = Certificates::new(tcp.files.clone());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(acceptor) = certificates.acceptor() else { continue };
                let (places, desk) = (Arc::clone(&places), Arc::clone(desk));
                tokio::spawn(async move {
                    let accepted = timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await;
                    match accepted {
                        Ok(Ok(stream)) => {
                            // A place is waited for no longer than a client would.
                            let place = timeout(HANDSHAKE_PATIENCE, places.acquire_owned()).await;
                            drop(handshake);
                            if let Ok(Ok(place)) = place {
                                converse(stream, desk, place).await;
                            }
                        }
                        Ok(Err(error)) => tracing::debug!(%error, %peer, "a status client was turned away"),
                        Err(_) => tracing::debug!(%peer, "a status client was too slow with its handshake"),
                    }
                });
            }
            Err(error) => rest(&error).await,
        }
        sleep(TCP_PAUSE).await;
    }
}

async fn rest(error: &std::io::Error) {
    tracing::debug!(%error, "a status client could not be accepted");
    sleep(REST).await;
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "the status endpoint is open, with mutual TLS");
                return listener;
            }
            Err(err) if told => tracing::debug!(%err, %address, "the status endpoint is still not open"),
            Err(err) => {
                tracing::warn!(%err, %address, "the status endpoint cannot be opened; it is tried again")
            }
        }
        told = true;
        sleep(BIND_RETRY).await;
    }
}

/// The files as they were read last.
struct Certificates {
    files: TlsFiles,
    read: Option<(Instant, TlsAcceptor)>,
}

impl Certificates {
    const fn new(files: TlsFiles) -> Self {
        Self { files, read: None }
    }

    /// What was good stays good while the files are not.
    fn acceptor(&mut self) -> Option<TlsAcceptor> {
        let now = Instant::now();
        if self.read.as_ref().is_none_or(|(read, _)| now.duration_since(*read) >= CERTIFICATE_LIFE) {
            let fresh: Result<_, TlsError> = self.files.server().map(TlsAcceptor::from);
            let kept = self.read.take().map(|(_, acceptor)| acceptor);
            let acceptor =
                fresh.map_err(|error| tracing::warn!(%error, "the status endpoint keeps its certificate"));
            self.read = acceptor.ok().or(kept).map(|acceptor| (now, acceptor));
        }
        self.read.as_ref().map(|(_, acceptor)| acceptor.clone())
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    desk: Arc<Desk>,
    place: OwnedSemaphorePermit,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), answer);
    // Whoever is too slow is not told so, and whoever has gone need not be.
    let _ended = timeout(CONNECTION_LIFE, connection).await;
    drop(place);
}

/// What is asked, and what was answered last.
struct Desk {
    questions: mpsc::Sender<Question>,
    /// Held by whoever asks the trunk's thread, and for a pause behind that.
    line: Mutex<()>,
    copy: Mutex<Option<Shown>>,
}

/// Everything, as it was at a moment, and the texts that were made of it.
struct Shown {
    made: Instant,
    status: Status,
    texts: [Option<Bytes>; 3],
}

/// Which of the texts of a copy.
#[derive(Clone, Copy, Debug)]
enum Text {
    Metrics,
    VmMetrics,
    Status,
}

type Answer = Response<Full<Bytes>>;

/// The trunk's thread did not answer in time, or a text could not be made.
#[derive(Debug)]
struct Unanswered(String);

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let answer = match route(request.method().as_str(), request.uri().path()) {
            Err(refusal) => return refuse(refusal),
            Ok(Route::Metrics) => self.text(Text::Metrics).await.map(|text| respond(200, PROMETHEUS, text)),
            Ok(Route::VmMetrics) => {
                self.text(Text::VmMetrics).await.map(|text| respond(200, PROMETHEUS, text))
            }
            Ok(Route::Status) => self.text(Text::Status).await.map(|text| respond(200, JSON, text)),
            Ok(Route::Health) => self.ask(Question::Condition).await.map(|condition| {
                let health = Health::of(condition);
                respond(if health.healthy { 200 } else { 503 }, JSON, json(&health))
            }),
            Ok(Route::Vm(vm)) => self
                .ask(|reply| Question::Vm(vm, reply))
                .await
                .map(|answer| respond(200, JSON, json(&answer))),
        };
        answer.unwrap_or_else(|Unanswered(why)| respond(503, JSON, error(&why)))
    }

    /// Asks the trunk's thread.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            {
                let _turn = self.line.lock().await;
                self.questions.send(question(reply)).await.map_err(|_| ())?;
                sleep(QUESTION_PAUSE).await;
            }
            answer.await.map_err(|_| ())
        };
        match timeout(LOOP_PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(())) => Err(Unanswered("the host monitor is stopping".to_owned())),
            Err(_) => Err(Unanswered(format!(
                "the host monitor's loop did not answer within {LOOP_PATIENCE:?}: DOWN"
            ))),
        }
    }

    /// One copy a second, and of each copy every text once, however many ask.
    async fn text(&self, text: Text) -> Result<Bytes, Unanswered> {
        let mut kept = self.copy.lock().await;
        let fresh = kept.take().filter(|copy| copy.made.elapsed() < COPY_LIFE);
        let copy = match fresh {
            Some(copy) => copy,
            None => {
                let whole: Whole = self.ask(Question::Whole).await?;
                Shown { made: Instant::now(), status: whole.status(), texts: Default::default() }
            }
        };
        let copy = kept.insert(copy);
        let Some(place) = copy.texts.get_mut(text as usize) else { return Err(Unanswered(String::new())) };
        if let Some(made) = place {
            return Ok(made.clone());
        }
        let made = make(text, &copy.status)?;
        *place = Some(made.clone());
        Ok(made)
    }
}

fn make(text: Text, status: &Status) -> Result<Bytes, Unanswered> {
    let metrics = match text {
        Text::Metrics => metrics::page(status),
        Text::VmMetrics => metrics::vm_page(status),
        Text::Status => return Ok(json(&Report { host_monitors: [status], failures: [] })),
    };
    metrics.map(Bytes::from).map_err(|error| Unanswered(error.to_string()))
}

/// As `hmmgr status -o json` says it.
#[derive(Serialize)]
struct Report<'a> {
    host_monitors: [&'a Status; 1],
    failures: [(); 0],
}

fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_string(value).unwrap_or_default() + "\n")
}

fn error(why: &str) -> Bytes {
    json(&serde_json::json!({ "error": why }))
}

fn refuse(refusal: Refusal) -> Answer {
    let mut answer = respond(refusal.code(), JSON, error(refusal.text()));
    if refusal == Refusal::NotAllowed {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    answer
}

fn respond(code: u16, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Runs a future on a runtime of its own, in a thread of that name.
pub(crate) fn start(
    runtime: tokio::runtime::Runtime,
    serving: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new().name("status".to_owned()).spawn(move || runtime.block_on(serving)).map(drop)
}

#[cfg(test)]
mod tests;
