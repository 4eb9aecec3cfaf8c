//! Looking at every packet of a namespace.
//!
//! Guarantees: after [`Capture::packets`] returns, everything that passed before the call is in it, in order.
//! Leaves out: what is not IP.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};

use crate::net::Namespace;
use crate::packet::{self, Packet, UDP};
use crate::wait;

/// Bytes the kernel keeps for us.
const BUFFER: usize = 64 << 20;
/// Longest piece of a frame kept.
const SNAP: usize = 2048;
/// `PACKET_OUTGOING` (`packet(7)`).
const OUTGOING: u8 = 4;
/// How long a marker may take.
const PATIENCE: Duration = Duration::from_secs(30);

static MARKER: AtomicU16 = AtomicU16::new(1);

/// A packet and how it passed.
#[derive(Clone, Debug)]
pub struct Captured {
    /// When it was seen.
    pub at: Instant,
    /// Device.
    pub device: String,
    /// Whether it came in by the device.
    pub is_incoming: bool,
    /// What it is.
    pub packet: Packet,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    namespace: Namespace,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Captured>>,
    is_over: AtomicBool,
}

impl Capture {
    /// Starts looking at every device of the namespace.
    ///
    /// # Errors
    /// When there is no packet socket.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let socket = namespace.with(|| {
            let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll)
                .context("cannot open a packet socket")?;
            setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).context("cannot enlarge the buffer")?;
            Ok(fd)
        })?;
        let (inside, theirs) = (namespace.clone(), Arc::clone(&shared));
        // The thread lives in the namespace, because device numbers mean nothing elsewhere.
        let reader = std::thread::spawn(move || {
            let _ = inside.enter().map(|()| read_until_over(&socket, &theirs));
        });
        Ok(Self { namespace: namespace.clone(), shared, reader: Some(reader) })
    }

    /// Everything seen so far.
    ///
    /// # Errors
    /// When the capture does not keep up.
    pub fn packets(&self) -> Result<Vec<Captured>> {
        self.catch_up()?;
        Ok(self.lock().clone())
    }

    fn catch_up(&self) -> Result<()> {
        let number = MARKER.fetch_add(1, Ordering::Relaxed);
        let text = format!("capture-marker-{number}");
        self.namespace.with(|| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot send a marker")?;
            let own = socket.local_addr().context("cannot send a marker")?;
            socket.send_to(text.as_bytes(), own).context("cannot send a marker").map(drop)
        })?;
        let is_marker =
            |captured: &Captured| captured.packet.protocol == UDP && captured.packet.payload == text.as_bytes();
        wait::until(PATIENCE, "the capture to catch up", || self.lock().iter().rev().take(4096).any(is_marker))
    }

    /// How many seen so far are `wanted`.
    ///
    /// # Errors
    /// As [`Capture::packets`].
    pub fn count(&self, wanted: impl Fn(&Captured) -> bool) -> Result<usize> {
        Ok(self.packets()?.iter().filter(|captured| wanted(captured)).count())
    }

    /// Forgets what was seen so far.
    ///
    /// # Errors
    /// As [`Capture::packets`].
    pub fn clear(&self) -> Result<()> {
        self.take().map(drop)
    }

    /// Everything seen since the start or the last [`Capture::take`]: for long captures, which are not copied each time.
    ///
    /// # Errors
    /// As [`Capture::packets`].
    pub fn take(&self) -> Result<Vec<Captured>> {
        self.catch_up()?;
        Ok(std::mem::take(&mut *self.lock()))
    }

    /// Waits until `wanted` was seen and returns it.
    ///
    /// # Errors
    /// When it is not seen in time.
    pub fn wait_for(&self, limit: Duration, what: &str, wanted: impl Fn(&Captured) -> bool) -> Result<Captured> {
        wait::poll(limit, what, || self.lock().iter().find(|captured| wanted(captured)).cloned())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Captured>> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read_until_over(socket: &OwnedFd, shared: &Shared) -> Result<()> {
    let mut buffer = vec![0; SNAP];
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(50_u8));
        loop {
            match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
                Ok((length, Some(from))) => keep(shared, &buffer[..length], &from),
                Ok((_, None)) => {}
                Err(Errno::EAGAIN) => break,
                // A device that goes down is told here once.
                Err(Errno::ENETDOWN | Errno::EINTR) => {}
                Err(errno) => bail!("cannot read packets: {errno}"),
            }
        }
    }
    Ok(())
}

fn keep(shared: &Shared, bytes: &[u8], from: &LinkAddr) {
    let Some(packet) = packet::frame(bytes) else { return };
    let index = u32::try_from(from.ifindex()).unwrap_or(0);
    let device = if_indextoname(index).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let captured = Captured { at: Instant::now(), device, is_incoming: from.pkttype() != OUTGOING, packet };
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(captured);
}
