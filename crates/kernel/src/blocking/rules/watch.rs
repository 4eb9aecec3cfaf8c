//! Notices that rules changed while they were listed.
//!
//! Guarantees: a change between two parts of a list is noticed. Leaves out: which change.
//!
//! The kernel finds its place in the next part of a list of rules by counting, and, unlike for devices and
//! addresses, does not set `NLM_F_DUMP_INTR`: a rule that goes from the front meanwhile makes it skip one.

use std::io::{self, ErrorKind};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc::MSG_DONTWAIT;

use crate::KernelError;

/// `RTNLGRP_IPV4_RULE`, `RTNLGRP_IPV6_RULE`.
const GROUPS: [u32; 2] = [8, 19];
/// What a notification says does not matter, so it may be cut.
const GLANCE: usize = 16;

pub(super) struct Watch {
    socket: Socket,
}

impl Watch {
    pub(super) fn open() -> Result<Self, KernelError> {
        let joined = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            GROUPS.iter().try_for_each(|group| socket.add_membership(*group))?;
            Ok(socket)
        };
        let error = |source| KernelError::System { operation: "watch", object: "rules".into(), source };
        Ok(Self { socket: joined().map_err(error)? })
    }

    /// Whether anything changed since the last call.
    pub(super) fn saw_change(&self) -> bool {
        let mut changed = false;
        loop {
            match self.socket.recv(&mut Vec::with_capacity(GLANCE), MSG_DONTWAIT) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return changed,
                // Lost notifications are changes, too; the socket goes on.
                _ => changed = true,
            }
        }
    }
}
