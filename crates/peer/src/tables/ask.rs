//! The side that asks.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{ANSWER_HEAD, ANSWER_MAX, DEADLINE, read_frame, write_frame};
use crate::editions::Edition;
use crate::key::Key;
use crate::seal::{self, Header, Kind, Refusal};

/// Why a table did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The connection failed or broke off.
    #[error("exchange of tables")]
    Exchange(#[from] std::io::Error),
    /// The deadline passed.
    #[error("no table in time")]
    Late(#[from] tokio::time::error::Elapsed),
    /// The answer was refused.
    #[error("answer refused: {0}")]
    Refused(#[from] Refusal),
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: Key,
    /// The own address: peers take messages from no other.
    pub(crate) local: IpAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ask: Header,
}

/// The table of the node asked.
///
/// # Errors
/// Every variant of [`FetchError`].
pub(crate) async fn fetch(call: &Call) -> Result<(Edition, Vec<u8>), FetchError> {
    let answer = timeout(DEADLINE, exchange(call)).await??;
    Ok(read_answer(call, &answer)?)
}

async fn exchange(call: &Call) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(call).await?;
    write_frame(&mut stream, &seal::seal(&call.key, &call.ask, &[])).await?;
    read_frame(&mut stream, ANSWER_MAX).await
}

/// A connection from the own address.
pub(crate) async fn connect(call: &Call) -> std::io::Result<TcpStream> {
    let socket = if call.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !call.local.is_unspecified() {
        socket.bind((call.local, 0).into())?;
    }
    socket.connect(call.to).await
}

fn read_answer(call: &Call, answer: &[u8]) -> Result<(Edition, Vec<u8>), Refusal> {
    let (header, body) = seal::unseal(&call.key, answer)?;
    if header.kind != Kind::Answer {
        return Err(Refusal::Malformed);
    }
    if (header.sender, header.receiver) != (call.ask.receiver, call.ask.sender) {
        return Err(Refusal::Misdirected);
    }
    let (head, table) = body.split_first_chunk::<ANSWER_HEAD>().ok_or(Refusal::Malformed)?;
    let [incarnation, counter, version] = [0, 8, 16].map(|at| seal::number(&head[at..at + 8]));
    if (incarnation, counter) != (call.ask.incarnation, call.ask.counter) {
        return Err(Refusal::Replayed);
    }
    Ok((Edition { incarnation: header.incarnation, version }, table.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Sender;
    use crate::tables::serve::{Table, answer};

    fn call(counter: u64) -> Call {
        let key = Key::new(&[1; 32]).unwrap();
        let to: SocketAddr = "192.0.2.2:7343".parse().unwrap();
        let ask = Header { kind: Kind::Ask, sender: 1, receiver: 2, incarnation: 5, counter };
        Call { key, local: to.ip(), to, ask }
    }

    fn answer_to(call: &Call, node: u16) -> Vec<u8> {
        let header = Sender::new(node, 9).header(Kind::Answer, 1);
        answer(&Table { key: call.key.clone(), ask: call.ask, header, version: 4, table: (*b"claims").into() })
    }

    #[test]
    fn an_answer_carries_edition_and_table() {
        let call = call(3);
        let (edition, table) = read_answer(&call, &answer_to(&call, 2)).unwrap();
        assert_eq!((edition, table.as_slice()), (Edition { incarnation: 9, version: 4 }, b"claims".as_slice()));
    }

    #[test]
    fn an_answer_to_another_request_is_refused() {
        assert_eq!(read_answer(&call(4), &answer_to(&call(3), 2)), Err(Refusal::Replayed));
    }

    #[test]
    fn an_answer_of_another_node_is_refused() {
        assert_eq!(read_answer(&call(3), &answer_to(&call(3), 7)), Err(Refusal::Misdirected));
    }

    #[test]
    fn a_changed_answer_is_refused() {
        let mut answer = answer_to(&call(3), 2);
        answer[60] ^= 1;
        assert_eq!(read_answer(&call(3), &answer), Err(Refusal::Forged));
    }
}
