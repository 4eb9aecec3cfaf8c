//! Netlink message headers (`linux/netlink.h`).
//!
//! Guarantees: reading never goes past the datagram. Leaves out: bodies.

/// `NLMSG_ERROR`, also the acknowledgement.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub(crate) const DONE: u16 = 3;

const HEADER: usize = 16;

/// `NLM_F_*`.
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP_INTR: u16 = 0x10;
    #[cfg(feature = "async")]
    pub(crate) const REPLACE: u16 = 0x100;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const DUMP: u16 = 0x300;
}

/// `struct nlmsghdr` without the length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Message type.
    pub(crate) kind: u16,
    /// `NLM_F_*`.
    pub(crate) flags: u16,
    /// Sequence number.
    pub(crate) sequence: u32,
    /// Port of the socket whose request caused the message; 0 in requests.
    pub(crate) port: u32,
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Header.
    pub(crate) header: Header,
    /// What follows it.
    pub(crate) body: &'a [u8],
}

/// Appends a message, padded.
pub(crate) fn append(datagram: &mut Vec<u8>, header: Header, body: &[u8]) {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    datagram.extend_from_slice(&length.to_ne_bytes());
    datagram.extend_from_slice(&header.kind.to_ne_bytes());
    datagram.extend_from_slice(&header.flags.to_ne_bytes());
    datagram.extend_from_slice(&header.sequence.to_ne_bytes());
    datagram.extend_from_slice(&header.port.to_ne_bytes());
    datagram.extend_from_slice(body);
    datagram.resize(datagram.len().next_multiple_of(4), 0);
}

/// The messages of a datagram; stops at the first malformed one.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Of a whole datagram.
    pub(crate) fn of(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.rest.split_first_chunk::<HEADER>()?;
        let u16_at = |i: usize| u16::from_ne_bytes([head[i], head[i + 1]]);
        let u32_at = |i: usize| u32::from_ne_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let length = u32_at(0) as usize;
        let body = self.rest.get(HEADER..length)?;
        let header = Header { kind: u16_at(4), flags: u16_at(6), sequence: u32_at(8), port: u32_at(12) };
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { header, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_read_back() {
        let mut datagram = Vec::new();
        append(&mut datagram, Header { kind: 20, flags: 5, sequence: 9, port: 77 }, &[1, 2, 3]);
        append(&mut datagram, Header { kind: 21, flags: 0, sequence: 10, port: 0 }, &[]);
        let kinds: Vec<_> = Messages::of(&datagram).map(|m| (m.header.kind, m.header.port, m.body.to_vec())).collect();
        assert_eq!(kinds, [(20, 77, vec![1, 2, 3]), (21, 0, vec![])]);
    }

    #[test]
    fn a_truncated_datagram_ends_the_iteration() {
        let mut datagram = Vec::new();
        append(&mut datagram, Header { kind: 20, flags: 0, sequence: 1, port: 0 }, &[1, 2, 3, 4]);
        for length in 0..datagram.len() {
            assert_eq!(Messages::of(&datagram[..length]).count(), 0, "{length} bytes");
        }
        datagram[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(Messages::of(&datagram).count(), 0, "a length shorter than the header");
    }
}
