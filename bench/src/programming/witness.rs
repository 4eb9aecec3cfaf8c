//! What the kernel itself says about its changes.
//!
//! Guarantees: every route, routing rule and nftables object that comes or goes in the namespace is notified by the kernel
//! and noted with the time of its arrival. Leaves out: whose change it is; nobody else changes anything.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use sortie_testkit::{Namespace, poll};

use super::changes::Changes;

/// Bytes of notifications that may wait.
const BUFFER: usize = 512 << 20;
/// A change is over when the kernel says nothing for so long and is as expected.
const QUIET: Duration = Duration::from_millis(250);
/// Longest wait for that.
const LIMIT: Duration = Duration::from_secs(120);
/// `RTNLGRP_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_ROUTE`, `_IPV6_RULE` as bits (linux/rtnetlink.h).
const ROUTING: u32 = 1 << 6 | 1 << 7 | 1 << 10 | 1 << 18;
/// `NFNLGRP_NFTABLES` as a bit (linux/netfilter/nfnetlink.h).
const NFTABLES: u32 = 1 << 6;
/// Length of a message's head, `struct nlmsghdr`.
const HEAD: usize = 16;

/// Counts a message by its type.
type Note = fn(&mut Changes, u16);

/// What was notified since it was asked to begin.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    last: Option<Instant>,
    changes: Changes,
}

/// Listens until it is dropped.
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
    ends: Arc<AtomicBool>,
    listeners: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Listens in a namespace.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        let (routing, tables) = namespace.with(|| {
            Ok((open(SockProtocol::NetlinkRoute, ROUTING)?, open(SockProtocol::NetlinkNetFilter, NFTABLES)?))
        })?;
        let (seen, ends) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let listen = |socket: OwnedFd, note: Note| {
            let (seen, ends) = (Arc::clone(&seen), Arc::clone(&ends));
            std::thread::spawn(move || listen(&socket, note, (&seen, &ends)))
        };
        let listeners = vec![listen(routing, Changes::note_routing), listen(tables, Changes::note_table)];
        Ok(Self { seen, ends, listeners })
    }

    /// Forgets what was seen and returns the time.
    pub(crate) fn begin(&self) -> Instant {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
        Instant::now()
    }

    /// Waits until the kernel is quiet and as expected; the time of the last change since `began`, and what changed.
    ///
    /// # Errors
    /// When it takes too long, or notifications were lost.
    pub(crate) fn settled(
        &self,
        began: Instant,
        mut is_done: impl FnMut() -> Result<bool>,
    ) -> Result<(Duration, Changes)> {
        let mut looked = None;
        let seen = poll(LIMIT, "the kernel to be as expected", || {
            let seen = self.seen();
            let last = seen.last.filter(|last| last.elapsed() > QUIET)?;
            if looked.is_some_and(|looked: Instant| looked.elapsed() < QUIET) {
                return None;
            }
            let is_done = is_done();
            looked = Some(Instant::now());
            match is_done {
                Ok(false) => None,
                Ok(true) if self.seen().last != Some(last) => None,
                other => Some(other.map(|_| (last.saturating_duration_since(began), seen.changes))),
            }
        })??;
        if seen.1.is_incomplete {
            bail!("the kernel dropped notifications");
        }
        Ok(seen)
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

fn open(protocol: SockProtocol, groups: u32) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .context("cannot open a netlink socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("cannot make room for notifications")?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000)).context("cannot set a time limit")?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).context("cannot listen to notifications")?;
    Ok(socket)
}

fn listen(socket: &OwnedFd, note: Note, (seen, ends): (&Mutex<Seen>, &AtomicBool)) {
    let mut buffer = vec![0; 1 << 17];
    while !ends.load(Ordering::Relaxed) {
        let received = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
        let now = Instant::now();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match received {
            Ok(length) => kinds(&buffer[..length]).for_each(|kind| note(&mut seen.changes, kind)),
            Err(Errno::ENOBUFS) => seen.changes.is_incomplete = true,
            Err(_) => continue,
        }
        seen.last = Some(now);
    }
}

/// Types of the messages in a datagram.
fn kinds(mut datagram: &[u8]) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let head = datagram.get(..HEAD)?;
        let length = usize::try_from(u32::from_ne_bytes([head[0], head[1], head[2], head[3]])).ok()?.max(HEAD);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(u16::from_ne_bytes([head[4], head[5]]))
    })
}
