//! ICMP echo through one device (RFC 792, RFC 4443 section 4).
//!
//! Guarantees: an answer counts only with the identifier, sequence number and address that were asked.
//! Leaves out: when to ask. Blocks the calling thread for at most the deadline.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use sortie_core::model::DeviceName;

use crate::KernelError;

const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// Larger than any answer we provoke.
const BUFFER: usize = 1500;

static ASKED: AtomicU32 = AtomicU32::new(0);

/// One question.
#[derive(Clone, Debug)]
pub struct Echo {
    /// Device it leaves by.
    pub device: DeviceName,
    /// Who is asked.
    pub target: IpAddr,
    /// Packet mark, for the route to a target that is not a neighbour.
    pub mark: Option<u32>,
    /// How long an answer may take.
    pub deadline: Duration,
}

impl Echo {
    /// Asks once; `false` when nobody answered in time.
    ///
    /// # Errors
    /// When the question could not be sent: no device, no route (IPv6; an IPv4 target without a route is
    /// taken for a neighbour by the kernel), no CAP_NET_RAW.
    pub fn ping(&self) -> Result<bool, KernelError> {
        self.ask().map_err(|source| KernelError::System {
            operation: "ping",
            object: format!("{} dev {}", self.target, self.device),
            source,
        })
    }

    fn ask(&self) -> io::Result<bool> {
        let end = Instant::now() + self.deadline;
        let socket = self.socket()?;
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let tag = [std::process::id().to_be_bytes(), asked.to_be_bytes()].concat();
        let tag = [tag[2], tag[3], tag[6], tag[7]];
        socket.send(&question(self.target, tag))?;
        let mut buffer = [0; BUFFER];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            socket.set_read_timeout(Some(left))?;
            match (&socket).read(&mut buffer) {
                Ok(length) if is_answer(self.target, &buffer[..length], tag) => return Ok(true),
                Ok(_) => {}
                Err(error) if is_silence(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn socket(&self) -> io::Result<Socket> {
        let (domain, protocol) = match self.target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.bind_device(Some(self.device.0.as_bytes()))?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        socket.connect(&SockAddr::from(SocketAddr::new(self.target, 0)))?;
        Ok(socket)
    }
}

/// Nothing yet, or an ICMP error that reached the socket: either way no answer so far.
fn is_silence(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::TimedOut
            | Kind::Interrupted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::ConnectionRefused
    )
}

fn question(target: IpAddr, tag: [u8; 4]) -> Vec<u8> {
    let (kind, _) = kinds(target);
    let mut packet = vec![kind, 0, 0, 0, tag[0], tag[1], tag[2], tag[3]];
    // The kernel fills in the checksum of ICMPv6 (RFC 3542 section 3.1).
    if target.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// A raw IPv4 socket shows the IP header, an IPv6 one does not.
fn is_answer(target: IpAddr, packet: &[u8], tag: [u8; 4]) -> bool {
    let start = match (target, packet.first()) {
        (IpAddr::V4(_), Some(first)) => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let (_, kind) = kinds(target);
    packet.get(start..).is_some_and(|icmp| icmp.first() == Some(&kind) && icmp.get(4..8) == Some(&tag))
}

fn kinds(target: IpAddr) -> (u8, u8) {
    if target.is_ipv4() { ECHO_V4 } else { ECHO_V6 }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_carries_a_right_checksum() {
        let packet = question("192.0.2.1".parse().unwrap(), [1, 2, 3, 4]);
        assert_eq!(checksum(&packet), 0);
    }

    #[test]
    fn only_the_answer_to_this_question_counts() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 0, 0, 1, 2, 3, 4]);
        assert!(is_answer(v4, &packet, [1, 2, 3, 4]));
        assert!(!is_answer(v4, &packet, [1, 2, 3, 5]));
        packet[20] = 8;
        assert!(!is_answer(v4, &packet, [1, 2, 3, 4]), "our own question");
        assert!(!is_answer(v4, &[0x4f], [1, 2, 3, 4]));
        assert!(is_answer("::1".parse().unwrap(), &[129, 0, 0, 0, 1, 2, 3, 4], [1, 2, 3, 4]));
    }
}
