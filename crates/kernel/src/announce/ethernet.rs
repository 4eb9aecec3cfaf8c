//! Ethernet II headers.
//!
//! Guarantees: no input panics. Leaves out: VLAN tags, padding and the check sequence.

use std::fmt;
use std::net::Ipv6Addr;

/// EtherType of ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6 (RFC 2464 section 3).
pub const IPV6: u16 = 0x86dd;
/// Bytes of a header.
pub const HEADER: usize = 14;

/// A link-layer address of 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Not known, in ARP requests.
    pub const ZERO: Self = Self([0; 6]);

    /// Where an IPv6 multicast group is sent to (RFC 2464 section 7).
    #[must_use]
    pub fn of_group(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }

    /// Whether it stands for several stations, which no sender's address may (IEEE 802, I/G bit).
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What stands before every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
}

impl Header {
    /// Header and packet of a frame with this EtherType.
    #[must_use]
    pub fn split(frame: &[u8], ethertype: u16) -> Option<(Self, &[u8])> {
        let (destination, rest) = frame.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (kind, packet) = rest.split_first_chunk()?;
        let header = Self { destination: Mac(*destination), source: Mac(*source) };
        (u16::from_be_bytes(*kind) == ethertype).then_some((header, packet))
    }

    /// A frame.
    #[must_use]
    pub fn frame(&self, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 4] = [&self.destination.0, &self.source.0, &ethertype.to_be_bytes(), packet];
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_built() {
        let header = Header { destination: Mac::BROADCAST, source: Mac([2, 0, 0, 0, 0, 1]) };
        let frame = header.frame(ARP, &[1, 2, 3]);
        assert_eq!(Header::split(&frame, ARP), Some((header, [1, 2, 3].as_slice())));
        assert_eq!(Header::split(&frame, IPV6), None);
        assert!((0..HEADER).all(|length| Header::split(&frame[..length], ARP).is_none()));
    }

    #[test]
    fn a_group_has_the_address_of_rfc_2464() {
        let group = Mac::of_group("ff02::1:ff01:203".parse().unwrap());
        assert_eq!(group.to_string(), "33:33:ff:01:02:03");
        assert!(group.is_group() && !Mac([2, 0, 0, 0, 0, 1]).is_group());
    }
}
