//! The socket: who may ask, and how a question travels to the node.
//!
//! Guarantees: only root is answered; a slow or silent peer costs nothing but its own connection; a peer that
//! hangs up is known not to wait; the socket appears complete, with its mode, and goes with the helper. Leaves out: the answers.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sortie_core::cni::code;
use sortie_ipc::{Call, Failure, FrameError, LINE_MAX, Reply, Request, VERSION, decode, encode};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longest time a peer may take to send its line, or to take ours.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no free descriptor).
const PAUSE: Duration = Duration::from_millis(100);

/// A question with the way back.
pub(crate) type Ask = (Request, oneshot::Sender<Reply>);

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("--socket {path}: {action}")]
pub(crate) struct ServerError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

/// An open socket; dropping it closes and removes it.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Server {
    /// Opens the socket and answers from now on.
    pub(crate) fn open(path: &Path, asks: mpsc::Sender<Ask>) -> Result<Self, ServerError> {
        let failed = |action| move |source| ServerError { path: path.to_owned(), action, source };
        let new = PathBuf::from(format!("{}.new", path.display()));
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(failed("bind"))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(failed("set mode"))?;
        fs::rename(&new, path).map_err(failed("rename"))?;
        Ok(Self { path: path.to_owned(), task: tokio::spawn(accept(listener, asks)) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("socket cannot be removed path={} error={error}", self.path.display());
        }
    }
}

async fn accept(listener: UnixListener, asks: mpsc::Sender<Ask>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, asks.clone()))),
            Err(error) => {
                log::warn!("connection cannot be accepted error={error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, asks: mpsc::Sender<Ask>) {
    match stream.peer_cred().map(|peer| peer.uid()) {
        Ok(0) => {}
        Ok(uid) => return log::warn!("connection refused user={uid}"),
        Err(error) => return log::warn!("connection refused error={error}"),
    }
    let line = match timeout(DEADLINE, read_line(&mut stream)).await {
        Ok(Ok(line)) if !line.is_empty() => line,
        _ => return,
    };
    let reply = tokio::select! {
        reply = answer(&line, asks) => reply,
        () = hung_up(&mut stream) => return,
    };
    let line = encode(&reply).or_else(|error| encode(&Reply::Failed(undecodable(&error))));
    if let Ok(line) = line {
        let _ = timeout(DEADLINE, stream.write_all(&line)).await;
    }
}

/// At most one byte more than is allowed, which [`decode`] refuses.
async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok(line)
}

/// Waits until the peer does not wait any more; what it says after its line is not heard.
async fn hung_up(stream: &mut UnixStream) {
    let mut more = [0; 64];
    while !matches!(stream.read(&mut more).await, Ok(0) | Err(_)) {}
}

async fn answer(line: &[u8], asks: mpsc::Sender<Ask>) -> Reply {
    let request = match request(line) {
        Ok(request) => request,
        Err(error) => return Reply::Failed(undecodable(&error)),
    };
    let (back, reply) = oneshot::channel();
    if asks.send((request, back)).await.is_err() {
        return stopping();
    }
    reply.await.unwrap_or_else(|_| stopping())
}

/// The part that every version of the contract has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn request(line: &[u8]) -> Result<Request, FrameError> {
    let Versioned { version } = decode(line)?;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    Ok(decode::<Call>(line)?.request)
}

fn undecodable(error: &FrameError) -> Failure {
    Failure {
        code: code::UNDECODABLE,
        message: "message cannot be used".to_owned(),
        details: crate::node::chain(error),
    }
}

fn stopping() -> Reply {
    Reply::Failed(Failure {
        code: code::TRY_AGAIN,
        message: "helper is stopping".to_owned(),
        details: "try again when it runs".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn one(line: &'static [u8]) -> Reply {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper.sock");
        runtime.block_on(async {
            let (asks, mut asked) = mpsc::channel::<Ask>(1);
            let server = Server::open(&path, asks).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let peer = path.clone();
            let talk = tokio::task::spawn_blocking(move || {
                let mut stream = std::os::unix::net::UnixStream::connect(peer).unwrap();
                stream.write_all(line).unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                text
            });
            let serve = async {
                while let Some((_, back)) = asked.recv().await {
                    back.send(Reply::Done).unwrap();
                }
            };
            let text = tokio::select! { text = talk => text.unwrap(), () = serve => unreachable!() };
            drop(server);
            assert!(!path.exists());
            decode(text.as_bytes()).unwrap()
        })
    }

    #[test]
    fn a_request_travels_to_the_node_and_back() {
        assert_eq!(one(b"{\"version\":1,\"request\":\"status\"}\n"), Reply::Done);
    }

    #[test]
    fn a_line_that_is_no_request_is_answered_with_a_reason() {
        for line in [&b"hello\n"[..], b"{\"version\":1,\"request\":\"dance\"}\n", b"[]\n"] {
            assert!(matches!(one(line), Reply::Failed(Failure { code: code::UNDECODABLE, .. })));
        }
    }

    #[test]
    fn another_version_is_refused_and_named() {
        let Reply::Failed(failure) = one(b"{\"version\":9,\"request\":{\"fly\":1}}\n") else { panic!() };
        assert!(failure.details.contains("version 9"), "{failure}");
    }
}
