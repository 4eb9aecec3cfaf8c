//! The side that listens.

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{FRAME_HEAD, FRAME_MAX, SILENCE};
use crate::seal::{self, Kind, Refusal};
use crate::tables::{Call, FetchError, connect, read_frame, write_frame};

/// Hears a peer until nobody listens, the peer ends or falls silent, or something is refused.
///
/// # Errors
/// Every variant of [`FetchError`].
pub(crate) async fn follow(call: &Call, heard: &mpsc::Sender<Vec<u8>>) -> Result<(), FetchError> {
    let mut stream = timeout(SILENCE, open(call)).await??;
    for number in 0.. {
        let read = async { timeout(SILENCE, read_frame(&mut stream, FRAME_MAX)).await };
        let frame = tokio::select! {
            () = heard.closed() => break,
            read = read => read??,
        };
        let message = read_message(call, number, &frame)?;
        if !message.is_empty() && heard.send(message.to_vec()).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn open(call: &Call) -> std::io::Result<TcpStream> {
    let mut stream = connect(call).await?;
    write_frame(&mut stream, &seal::seal(&call.key, &call.ask, &[])).await?;
    Ok(stream)
}

fn read_message<'a>(call: &Call, number: u64, frame: &'a [u8]) -> Result<&'a [u8], Refusal> {
    let (header, body) = seal::unseal(&call.key, frame)?;
    if header.kind != Kind::Feed {
        return Err(Refusal::Malformed);
    }
    if (header.sender, header.receiver) != (call.ask.receiver, call.ask.sender) {
        return Err(Refusal::Misdirected);
    }
    let (head, message) = body.split_first_chunk::<FRAME_HEAD>().ok_or(Refusal::Malformed)?;
    let [incarnation, counter, told] = [0, 8, 16].map(|at| seal::number(&head[at..at + 8]));
    if (incarnation, counter, told) != (call.ask.incarnation, call.ask.counter, number) {
        return Err(Refusal::Replayed);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::seal::{Header, Sender};
    use crate::streams::Follower;
    use crate::streams::feed::{Feed, frame};

    fn call(counter: u64) -> Call {
        let to: std::net::SocketAddr = "192.0.2.2:7343".parse().unwrap();
        let ask = Header { kind: Kind::Follow, sender: 1, receiver: 2, incarnation: 5, counter };
        Call { key: Key::new(&[1; 32]).unwrap(), local: to.ip(), to, ask }
    }

    fn frame_for(call: &Call, node: u16, number: u64) -> Vec<u8> {
        let header = Sender::new(node, 9).header(Kind::Feed, 1);
        let (_, messages) = Follower::new(1);
        frame(&Feed { key: call.key.clone(), ask: call.ask, header, messages }, number, b"flows")
    }

    #[test]
    fn a_frame_carries_its_message() {
        assert_eq!(read_message(&call(3), 8, &frame_for(&call(3), 2, 8)), Ok(b"flows".as_slice()));
    }

    #[test]
    fn a_frame_of_another_place_stream_or_node_is_refused() {
        let call = call(3);
        assert_eq!(read_message(&call, 9, &frame_for(&call, 2, 8)), Err(Refusal::Replayed));
        assert_eq!(read_message(&call, 8, &frame_for(&super::tests::call(2), 2, 8)), Err(Refusal::Replayed));
        assert_eq!(read_message(&call, 8, &frame_for(&call, 7, 8)), Err(Refusal::Misdirected));
        let mut changed = frame_for(&call, 2, 8);
        changed[50] ^= 1;
        assert_eq!(read_message(&call, 8, &changed), Err(Refusal::Forged));
    }
}
