//! One JSON line each way over a unix stream socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::message::{Call, Reply, Request, VERSION};

/// Longest line either side accepts, in bytes, line feed included.
pub const LINE_MAX: usize = 1 << 20;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Nobody listens.
    #[error("connect to {path}")]
    Connect {
        /// Socket path.
        path: String,
        /// errno.
        source: std::io::Error,
    },
    /// The exchange broke off or the deadline passed.
    #[error("{action} message")]
    Exchange {
        /// `send` or `receive`.
        action: &'static str,
        /// errno.
        source: std::io::Error,
    },
    /// The line is longer than [`LINE_MAX`].
    #[error("line is longer than {LINE_MAX} bytes")]
    TooLong,
    /// Not the JSON we speak.
    #[error("line is not a message")]
    Decode(#[from] serde_json::Error),
    /// Another contract version.
    #[error("peer speaks version {0}, this is version {VERSION}; upgrade plugin and helper together")]
    Version(u32),
}

/// A message as one line.
///
/// # Errors
/// [`FrameError::TooLong`] when it exceeds [`LINE_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > LINE_MAX { Err(FrameError::TooLong) } else { Ok(line) }
}

/// The message in one line, with or without its line feed.
///
/// # Errors
/// [`FrameError::TooLong`], [`FrameError::Decode`].
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, FrameError> {
    if line.len() > LINE_MAX {
        return Err(FrameError::TooLong);
    }
    Ok(serde_json::from_slice(line)?)
}

/// The kernel waits for room in the listener's queue as long as the write timeout allows (`unix(7)`), so that
/// a helper that accepts nothing cannot hold its callers.
fn connect(path: &Path, deadline: Duration) -> std::io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(deadline))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Sends one request and waits for its reply; `deadline` bounds each of send and receive.
///
/// # Errors
/// Every variant of [`FrameError`].
pub fn call(socket: &Path, request: Request, deadline: Duration) -> Result<Reply, FrameError> {
    let mut stream = connect(socket, deadline)
        .map_err(|source| FrameError::Connect { path: socket.display().to_string(), source })?;
    let send = |source| FrameError::Exchange { action: "send", source };
    let receive = |source| FrameError::Exchange { action: "receive", source };
    stream.set_write_timeout(Some(deadline)).map_err(send)?;
    stream.set_read_timeout(Some(deadline)).map_err(receive)?;
    stream.write_all(&encode(&Call { version: VERSION, request })?).map_err(send)?;
    let mut line = Vec::new();
    BufReader::new(stream).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line).map_err(receive)?;
    if line.is_empty() {
        return Err(receive(std::io::ErrorKind::UnexpectedEof.into()));
    }
    decode(&line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let call = Call { version: VERSION, request: Request::Status };
        let line = encode(&call).unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(decode::<Call>(&line).unwrap(), call);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_on_both_sides() {
        assert!(matches!(encode(&"x".repeat(LINE_MAX)), Err(FrameError::TooLong)));
        assert!(matches!(decode::<Call>(&vec![b' '; LINE_MAX + 1]), Err(FrameError::TooLong)));
    }

    #[test]
    fn a_listener_that_accepts_nothing_holds_nobody() {
        let path = std::env::temp_dir().join(format!("sortie-ipc-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let queue: Vec<_> =
            std::iter::from_fn(|| connect(&path, Duration::from_millis(20)).ok()).take(10_000).collect();
        let began = Instant::now();
        let outcome = call(&path, Request::Status, Duration::from_millis(50));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(outcome, Err(FrameError::Connect { .. })), "{} wait, {outcome:?}", queue.len());
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(listener);
    }

    #[test]
    fn nobody_at_the_socket_is_said_with_its_path() {
        let outcome = call(Path::new("/nonexistent/helper.sock"), Request::Status, Duration::from_millis(50));
        assert!(matches!(outcome, Err(FrameError::Connect { path, .. }) if path == "/nonexistent/helper.sock"));
    }
}
