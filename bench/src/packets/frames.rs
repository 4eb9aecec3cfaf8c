//! Small UDP packets as raw frames from a pod's device, as fast as one processor can.
//!
//! Guarantees: a veth pair hands a frame over within the call that sends it, and the namespaces behind it do their work
//! before the call returns; so the time of the calls is the time of the whole way. What is told is the median over the
//! calls, so that a moment in which the processor did something else is left out. Leaves out: what arrives, see
//! [`super::sink`].

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, ControlMessage, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};
use nix::unistd::Pid;
use sortie_testkit::Namespace;

use crate::statistics::{Summary, f64_of};

/// Frames handed to the kernel at once.
const BATCH: usize = 32;
/// Calls in one burst, about.
const CALLS: usize = 8192;
/// Ethernet, IPv4, UDP and eighteen bytes: the smallest frame there is on a wire.
const LENGTH: usize = 60;
/// Length field of UDP in such a frame.
pub(super) const UDP_LENGTH: u16 = 26;

type Frame = [u8; LENGTH];

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Own address.
    pub(super) source: Ipv4Addr,
    /// Far address.
    pub(super) destination: Ipv4Addr,
    /// Link address of the node's end of the pair.
    pub(super) node: [u8; 6],
}

/// What was sent, and how long a packet took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    pub(super) sent: u64,
    pub(super) nanoseconds: f64,
}

/// Sends from `eth0` of a pod for at least this time; `ports` gives source and destination port of packet number n.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn send(pod: &Namespace, ends: Ends, limit: Duration, ports: fn(u32) -> (u16, u16)) -> Result<Burst> {
    pod.with(|| {
        stay_here()?;
        let (socket, place) = door("eth0")?;
        let own = place.addr().context("eth0 has no link address")?;
        let mut frames = [frame(ends, own); BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let (begin, mut number) = (Instant::now(), 0_u32);
        let (mut sent, mut times) = (0, Vec::with_capacity(CALLS));
        let mut last = begin;
        while last - begin < limit {
            for frame in &mut frames {
                let (source, destination) = ports(number);
                frame[34..36].copy_from_slice(&source.to_be_bytes());
                frame[36..38].copy_from_slice(&destination.to_be_bytes());
                number = number.wrapping_add(1);
            }
            let taken = hand_over(&socket, &mut headers, &frames)?;
            let now = Instant::now();
            if taken > 0 {
                times.push((now - last).as_secs_f64() * 1e9 / f64_of(taken));
            }
            (sent, last) = (sent + taken, now);
        }
        Ok(Burst { sent: sent.try_into()?, nanoseconds: Summary::of_numbers(times.into_iter()).median })
    })
}

/// Link address of a device of a namespace.
///
/// # Errors
/// When there is none.
pub(super) fn link_address(namespace: &Namespace, device: &str) -> Result<[u8; 6]> {
    namespace.with(|| place(device)?.addr().with_context(|| format!("{device} has no link address")))
}

/// The thread stays on the processor it is on now.
fn stay_here() -> Result<()> {
    let me = Pid::from_raw(0);
    let all = sched_getaffinity(me).context("cannot read the processors")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| all.is_set(*cpu).unwrap_or(false)).context("no processor")?;
    let mut one = CpuSet::new();
    one.set(last).context("cannot choose a processor")?;
    sched_setaffinity(me, &one).context("cannot stay on a processor")
}

/// A socket that only sends, by one device.
fn door(device: &str) -> Result<(OwnedFd, LinkAddr)> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).context("no packet socket")?;
    let place = place(device)?;
    bind(socket.as_raw_fd(), &place).with_context(|| format!("cannot bind to {device}"))?;
    Ok((socket, place))
}

fn place(device: &str) -> Result<LinkAddr> {
    let links = nix::ifaddrs::getifaddrs().context("cannot list devices")?;
    let mut links = links.filter(|link| link.interface_name == device).filter_map(|link| link.address);
    links.find_map(|address| address.as_link_addr().copied()).with_context(|| format!("no device {device}"))
}

/// How many of the frames were taken.
fn hand_over(socket: &OwnedFd, headers: &mut MultiHeaders<LinkAddr>, frames: &[Frame; BATCH]) -> Result<usize> {
    const NOBODY: [Option<LinkAddr>; BATCH] = [None; BATCH];
    const NOTHING: [ControlMessage<'_>; 0] = [];
    let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|index| [IoSlice::new(&frames[index])]);
    match sendmmsg(socket.as_raw_fd(), headers, &slices, NOBODY, NOTHING, MsgFlags::empty()) {
        Ok(results) => Ok(results.count()),
        Err(Errno::ENOBUFS | Errno::EINTR) => Ok(0),
        Err(errno) => bail!("cannot send frames: {errno}"),
    }
}

/// A frame without ports and without a sum of UDP.
fn frame(ends: Ends, own: [u8; 6]) -> Frame {
    let mut frame = [0; LENGTH];
    frame[..6].copy_from_slice(&ends.node);
    frame[6..12].copy_from_slice(&own);
    frame[12] = 8;
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
    frame[26..30].copy_from_slice(&ends.source.octets());
    frame[30..34].copy_from_slice(&ends.destination.octets());
    let sum = header_sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[38..40].copy_from_slice(&UDP_LENGTH.to_be_bytes());
    frame
}

/// The internet checksum (RFC 1071) of an even number of bytes.
fn header_sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use sortie_testkit::packet;

    use super::*;

    #[test]
    fn a_frame_is_a_udp_packet_whose_header_adds_up() {
        let ends = Ends { source: [10, 244, 0, 2].into(), destination: [192, 0, 2, 10].into(), node: [2; 6] };
        let bytes = frame(ends, [4; 6]);
        let read = packet::frame(&bytes).unwrap();
        assert_eq!((read.source, read.destination), (ends.source.into(), ends.destination.into()));
        assert_eq!((read.protocol, read.payload.len()), (packet::UDP, 18));
        assert_eq!(header_sum(&bytes[14..34]), 0);
    }
}
