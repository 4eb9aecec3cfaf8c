//! Who a member is, and how members look on the wire.
//!
//! Guarantees: a restarted or falsely buried node comes back under a higher life at once; members have one fixed
//! length, so that unknown ones can be left out of a message. Leaves out: addresses, which every node is configured
//! with, so that no message can redirect another node's traffic.

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Identity, Member, Message, State};

/// A member: its node number and which of its lives this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) node: u16,
    /// The helper's incarnation, plus one for each time the cluster took the node for dead.
    pub(crate) life: u64,
}

impl Life {
    /// A node whose life is not known: only asking to join reaches it.
    pub(crate) const fn unknown(node: u16) -> Self {
        Self { node, life: 0 }
    }
}

impl Identity for Life {
    type Addr = u16;

    fn renew(&self) -> Option<Self> {
        Some(Self { life: self.life.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> u16 {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

/// Bytes of a [`Life`].
const LIFE_LEN: usize = 10;

/// Bytes of a member.
pub(crate) const MEMBER_LEN: usize = LIFE_LEN + 3;

/// The message does not fit or is none.
#[derive(Debug, thiserror::Error)]
#[error("membership message is cut off or unknown")]
pub(crate) struct Unreadable;

/// Reads and writes what foca says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire;

impl Codec<Life> for Wire {
    type Error = Unreadable;

    fn encode_header(&mut self, header: &Header<Life>, mut buffer: impl BufMut) -> Result<(), Unreadable> {
        room(&buffer, 2 * LIFE_LEN + 2)?;
        put_life(&mut buffer, &header.src);
        buffer.put_u16(header.src_incarnation);
        put_life(&mut buffer, &header.dst);
        put_message(&mut buffer, &header.message)
    }

    fn decode_header(&mut self, mut buffer: impl Buf) -> Result<Header<Life>, Unreadable> {
        let src = get_life(&mut buffer)?;
        let src_incarnation = buffer.try_get_u16().map_err(|_| Unreadable)?;
        let dst = get_life(&mut buffer)?;
        Ok(Header { src, src_incarnation, dst, message: get_message(&mut buffer)? })
    }

    fn encode_member(&mut self, member: &Member<Life>, mut buffer: impl BufMut) -> Result<(), Unreadable> {
        room(&buffer, MEMBER_LEN)?;
        put_life(&mut buffer, member.id());
        buffer.put_u16(member.incarnation());
        buffer.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buffer: impl Buf) -> Result<Member<Life>, Unreadable> {
        let life = get_life(&mut buffer)?;
        let incarnation = buffer.try_get_u16().map_err(|_| Unreadable)?;
        let state = match buffer.try_get_u8() {
            Ok(0) => State::Alive,
            Ok(1) => State::Suspect,
            Ok(2) => State::Down,
            _ => return Err(Unreadable),
        };
        Ok(Member::new(life, incarnation, state))
    }
}

fn room(buffer: &impl BufMut, needed: usize) -> Result<(), Unreadable> {
    if buffer.remaining_mut() < needed { Err(Unreadable) } else { Ok(()) }
}

fn put_life(buffer: &mut impl BufMut, life: &Life) {
    buffer.put_u16(life.node);
    buffer.put_u64(life.life);
}

fn get_life(buffer: &mut impl Buf) -> Result<Life, Unreadable> {
    let node = buffer.try_get_u16().map_err(|_| Unreadable)?;
    Ok(Life { node, life: buffer.try_get_u64().map_err(|_| Unreadable)? })
}

fn put_message(buffer: &mut impl BufMut, message: &Message<Life>) -> Result<(), Unreadable> {
    let (code, third, number) = match message {
        Message::Ping(number) => (0, None, Some(*number)),
        Message::Ack(number) => (1, None, Some(*number)),
        Message::PingReq { target, probe_number } => (2, Some(target), Some(*probe_number)),
        Message::IndirectPing { origin, probe_number } => (3, Some(origin), Some(*probe_number)),
        Message::IndirectAck { target, probe_number } => (4, Some(target), Some(*probe_number)),
        Message::ForwardedAck { origin, probe_number } => (5, Some(origin), Some(*probe_number)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    };
    room(buffer, 2 + LIFE_LEN)?;
    buffer.put_u8(code);
    if let Some(third) = third {
        put_life(buffer, third);
    }
    if let Some(number) = number {
        buffer.put_u8(number);
    }
    Ok(())
}

fn get_message(buffer: &mut impl Buf) -> Result<Message<Life>, Unreadable> {
    let code = buffer.try_get_u8().map_err(|_| Unreadable)?;
    let third = if (2..=5).contains(&code) { get_life(buffer)? } else { Life::unknown(0) };
    let probe_number = if code <= 5 { buffer.try_get_u8().map_err(|_| Unreadable)? } else { 0 };
    Ok(match code {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq { target: third, probe_number },
        3 => Message::IndirectPing { origin: third, probe_number },
        4 => Message::IndirectAck { target: third, probe_number },
        5 => Message::ForwardedAck { origin: third, probe_number },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        _ => return Err(Unreadable),
    })
}

/// The header of a message, and the message without the members `keep` does not want.
///
/// # Errors
/// [`Unreadable`].
pub(crate) fn sieve(message: &[u8], keep: impl Fn(u16) -> bool) -> Result<(Header<Life>, Vec<u8>), Unreadable> {
    let mut rest = message;
    let header = Wire.decode_header(&mut rest)?;
    let mut kept = message[..message.len() - rest.len()].to_vec();
    if rest.is_empty() || header.message == Message::Broadcast {
        kept.extend(rest);
        return Ok((header, kept));
    }
    let count = usize::from(rest.try_get_u16().map_err(|_| Unreadable)?);
    let (members, tail) = rest.split_at_checked(count * MEMBER_LEN).ok_or(Unreadable)?;
    let wanted: Vec<_> = members.chunks(MEMBER_LEN).filter(|member| keep(node_of(member))).collect();
    let count = u16::try_from(wanted.len()).map_err(|_| Unreadable)?;
    kept.extend(count.to_be_bytes());
    kept.extend(wanted.concat());
    kept.extend(tail);
    Ok((header, kept))
}

fn node_of(member: &[u8]) -> u16 {
    u16::from_be_bytes([member[0], member[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(node: u16) -> Life {
        Life { node, life: 7 }
    }

    fn messages() -> Vec<Message<Life>> {
        let (target, origin, probe_number) = (life(3), life(4), 9);
        vec![
            Message::Ping(1),
            Message::Ack(2),
            Message::PingReq { target, probe_number },
            Message::IndirectPing { origin, probe_number },
            Message::IndirectAck { target, probe_number },
            Message::ForwardedAck { origin, probe_number },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ]
    }

    fn headers() -> Vec<Header<Life>> {
        let header = |message| Header { src: life(1), src_incarnation: 5, dst: life(2), message };
        messages().into_iter().map(header).collect()
    }

    #[test]
    fn every_message_reads_back_as_it_was_written() {
        for header in headers() {
            let mut wire = Vec::new();
            Wire.encode_header(&header, &mut wire).unwrap();
            assert_eq!(Wire.decode_header(wire.as_slice()).unwrap(), header);
            assert!((0..wire.len()).all(|end| Wire.decode_header(&wire[..end]).is_err()));
        }
    }

    #[test]
    fn unknown_members_are_left_out_of_a_message() {
        let mut wire = Vec::new();
        Wire.encode_header(&headers()[0], &mut wire).unwrap();
        let head = wire.len();
        wire.put_u16(2);
        for node in [6, 8] {
            Wire.encode_member(&Member::alive(life(node)), &mut wire).unwrap();
        }
        wire.extend(b"tail");
        let (_, kept) = sieve(&wire, |node| node == 8).unwrap();
        assert_eq!(kept[head..head + 4], [0, 1, 0, 8]);
        assert_eq!(kept.len(), wire.len() - MEMBER_LEN);
        assert!(kept.ends_with(b"tail"));
    }

    #[test]
    fn a_count_beyond_the_message_is_unreadable() {
        let mut wire = Vec::new();
        Wire.encode_header(&headers()[0], &mut wire).unwrap();
        wire.put_u16(u16::MAX);
        assert!(sieve(&wire, |_| true).is_err());
    }
}
