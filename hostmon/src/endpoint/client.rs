//! Asks a status endpoint. An edge; for the controller and for tests.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use vmpulse_local::monitor_answer::{AnswerError, VM_ANSWER_BYTES, VmAnswer, vm_target};

use super::tls::{TlsError, TlsFiles};

/// Why there is no answer. None of it says anything about a VM.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The endpoint cannot be reached, or the connection broke.
    #[error("cannot reach the host monitor's status endpoint")]
    Io(#[from] std::io::Error),
    /// Certificates or key cannot be used.
    #[error("cannot use the files for TLS")]
    Tls(#[from] TlsError),
    /// The server's name is none.
    #[error("{0:?} cannot be the name in a certificate")]
    Name(String),
    /// It does not speak HTTP as it should.
    #[error("the host monitor's status endpoint does not answer as it should")]
    Http(#[from] hyper::Error),
    /// More than was asked for.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The answer cannot be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// Where an endpoint is.
#[derive(Clone, Debug)]
pub enum Place<'a> {
    /// On this machine.
    Unix(&'a Path),
    /// Elsewhere.
    Tcp {
        /// Address and port.
        address: SocketAddr,
        /// The name that its certificate must have.
        name: &'a str,
        /// What this side proves itself with.
        files: &'a TlsFiles,
    },
}

/// Asks about one VM, on a connection of its own. `patience` is for all of it.
///
/// # Errors
/// [`AskError`].
pub async fn ask_vm(place: &Place<'_>, vm: &str, patience: Duration) -> Result<VmAnswer, AskError> {
    let (code, body) = ask(place, &vm_target(vm), VM_ANSWER_BYTES, patience).await?;
    Ok(VmAnswer::read(vm, code, &body)?)
}

/// Asks for a target; the code and the body of the answer, of which no more than `limit` bytes are read.
///
/// # Errors
/// [`AskError`]; an answer with another code than 200 is none.
pub async fn ask(
    place: &Place<'_>,
    target: &str,
    limit: usize,
    patience: Duration,
) -> Result<(u16, Bytes), AskError> {
    let asking = async {
        match place {
            Place::Unix(path) => converse(UnixStream::connect(path).await?, target, limit).await,
            Place::Tcp { address, name, files } => {
                let server = ServerName::try_from((*name).to_owned());
                let server = server.map_err(|_| AskError::Name((*name).to_owned()))?;
                let connector = TlsConnector::from(files.client()?);
                let stream = connector.connect(server, TcpStream::connect(address).await?).await?;
                converse(stream, target, limit).await
            }
        }
    };
    timeout(patience, asking).await.unwrap_or(Err(AskError::Late(patience)))
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &str,
    limit: usize,
) -> Result<(u16, Bytes), AskError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(target).header(header::HOST, "hostmon").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| std::io::Error::other(error.to_string()))?;
    let asking = async {
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), limit).collect().await;
        let body = body.map_err(|_| AskError::TooLong(limit))?.to_bytes();
        Ok((code, body))
    };
    tokio::pin!(asking);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut asking => answer,
        // Its end may come together with the answer's.
        ended = &mut connection => {
            ended?;
            asking.await
        }
    }
}
