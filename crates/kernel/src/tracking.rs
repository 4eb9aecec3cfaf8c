//! What happens to tracked connections.
//!
//! Guarantees: every connection that begins, changes or ends is told, in order; lost notifications are told as
//! [`Notice::Overrun`]. Leaves out: what was there before (list it after listening began), and ends of connections that
//! began while nobody in the namespace listened, which `nf_conntrack_events=2` does not notify.

use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket};
use nix::libc;
use sortie_core::replica::Tracked;
use sortie_core::state::Tuple;

use crate::KernelError;
use crate::blocking::conntrack::wire;
use crate::events::{listen, overrun};
use crate::netlink::message::Messages;
use crate::netlink::nfgen::conntrack;

/// A flush of 10 000 connections overran the default buffer after 166 notifications. Bytes.
const RECEIVE_BUFFER: usize = 16 << 20;
/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE`, `_DESTROY`.
const GROUPS: [u32; 3] = [1, 2, 3];
/// Most notices told at a time.
const BATCH: usize = 512;
/// Larger than any notification, which is sent alone. Bytes.
const DATAGRAM: usize = 8 << 10;
/// Whether there are notifications at all; of the network namespace of the thread that reads it.
const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A connection began or changed. [`Transport::Plain`](sortie_core::replica::Transport::Plain) where its protocol's
    /// own state did not change.
    Seen(Tracked),
    /// The connection with this original tuple ended.
    Gone(Tuple),
    /// Notifications were lost: only a new listing tells.
    Overrun,
}

/// Notifications about connections of the network namespace it was opened in.
pub struct Tracking {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Tracking {
    /// Starts listening. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses the socket, its buffer or a group.
    pub fn open() -> Result<Self, KernelError> {
        let error =
            |source| KernelError::System { operation: "listen", object: "conntrack notifications".into(), source };
        let socket = listen(NETLINK_NETFILTER, &GROUPS, RECEIVE_BUFFER).map_err(error)?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Whether the administrator switched notifications off (`nf_conntrack_events=0`).
    #[must_use]
    pub fn is_switched_off() -> bool {
        fs::read_to_string(SWITCH).is_ok_and(|value| value.trim() == "0")
    }

    /// What happened next: one notice or more, as many as wait. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while notices.is_empty() {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => self.take(&mut notices),
                Err(error) => {
                    overrun(error).await;
                    return vec![Notice::Overrun];
                }
            }
        }
        while notices.len() < BATCH {
            self.buffer.clear();
            match self.socket.socket_mut().recv(&mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(_) => self.take(&mut notices),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    notices.push(Notice::Overrun);
                    break;
                }
            }
        }
        notices
    }

    fn take(&self, notices: &mut Vec<Notice>) {
        notices.extend(Messages::of(&self.buffer).filter_map(|message| match message.header.kind {
            conntrack::NEW => wire::read(message.body).map(Notice::Seen),
            conntrack::DELETE => wire::original(message.body).map(Notice::Gone),
            _ => None,
        }));
    }
}
