//! SCTP packets by hand (RFC 9260), because not every kernel has its sockets.
//!
//! Guarantees: checksum and verification tags are right, so connection tracking takes them. Leaves out: everything
//! after the first exchange.

/// Bytes of the common header.
const HEADER: usize = 12;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// `State Cookie` of an INIT ACK.
const COOKIE: u16 = 7;

/// Ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

/// An INIT whose initiate tag is `tag`.
#[must_use]
pub fn init(ports: Ports, tag: u32) -> Vec<u8> {
    assemble(ports, 0, &chunk(INIT, tag, &[]))
}

/// Ports and initiate tag of an INIT.
#[must_use]
pub fn read_init(packet: &[u8]) -> Option<(Ports, u32)> {
    let (ports, kind) = (ports(packet)?, *packet.get(HEADER)?);
    (kind == INIT).then_some(())?;
    Some((ports, u32::from_be_bytes(packet.get(HEADER + 4..HEADER + 8)?.try_into().ok()?)))
}

/// The answer to an INIT, with `text` as its cookie.
#[must_use]
pub fn init_ack(asked: Ports, tag: u32, text: &str) -> Vec<u8> {
    let mut cookie = COOKIE.to_be_bytes().to_vec();
    let length = u16::try_from(4 + text.len()).unwrap_or(u16::MAX);
    cookie.extend(length.to_be_bytes());
    cookie.extend(text.as_bytes());
    cookie.resize(cookie.len().next_multiple_of(4), 0);
    let back = Ports { source: asked.destination, destination: asked.source };
    assemble(back, tag, &chunk(INIT_ACK, tag, &cookie))
}

/// Ports and cookie of an INIT ACK.
#[must_use]
pub fn read_init_ack(packet: &[u8]) -> Option<(Ports, String)> {
    let (ports, kind) = (ports(packet)?, *packet.get(HEADER)?);
    (kind == INIT_ACK).then_some(())?;
    let cookie = packet.get(HEADER + 20..)?;
    let length = usize::from(u16::from_be_bytes([*cookie.get(2)?, *cookie.get(3)?]));
    Some((ports, String::from_utf8_lossy(cookie.get(4..length)?).into_owned()))
}

fn ports(packet: &[u8]) -> Option<Ports> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    Some(Ports { source: word(0)?, destination: word(2)? })
}

/// INIT and INIT ACK have the same form: tag, window, streams, first number.
fn chunk(kind: u8, tag: u32, parameters: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + parameters.len()).unwrap_or(u16::MAX);
    let mut chunk = vec![kind, 0];
    chunk.extend(length.to_be_bytes());
    chunk.extend(tag.to_be_bytes());
    chunk.extend(65_536_u32.to_be_bytes());
    chunk.extend([0, 10, 0, 10]);
    chunk.extend(1_u32.to_be_bytes());
    chunk.extend(parameters);
    chunk
}

fn assemble(ports: Ports, verification: u32, chunk: &[u8]) -> Vec<u8> {
    let mut packet = ports.source.to_be_bytes().to_vec();
    packet.extend(ports.destination.to_be_bytes());
    packet.extend(verification.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunk);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// CRC32c (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_answer_carries_the_tag_and_the_text() {
        let asked = Ports { source: 5060, destination: 7000 };
        assert_eq!(read_init(&init(asked, 77)), Some((asked, 77)));
        let answer = init_ack(asked, 77, "b 172.16.1.11:5060");
        assert_eq!(answer[4..8], 77_u32.to_be_bytes());
        let back = Ports { source: 7000, destination: 5060 };
        assert_eq!(read_init_ack(&answer), Some((back, "b 172.16.1.11:5060".to_owned())));
        assert_eq!(read_init_ack(&init(asked, 77)), None);
    }
}
