//! Solicited-node groups of a device (RFC 4291 section 2.7.1), so that the device and switches let questions through.
//!
//! Guarantees: the kernel reports the memberships by MLD (RFC 3810) and keeps them while the device is down; they go
//! with this. Leaves out: IPv4, whose questions are broadcast.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

/// Memberships of one socket: they take its option memory, which may be as little as 20 kB
/// (`net.core.optmem_max`).
const PER_SOCKET: usize = 128;

/// What was joined on one device.
pub(super) struct Groups {
    index: u32,
    members: Vec<Member>,
}

struct Member {
    socket: Socket,
    groups: BTreeSet<Ipv6Addr>,
}

impl Groups {
    pub(super) fn new(index: u32) -> Self {
        Self { index, members: Vec::new() }
    }

    /// Leaves and joins until exactly these are joined.
    pub(super) fn set(&mut self, wanted: &BTreeSet<Ipv6Addr>) -> io::Result<()> {
        for member in &mut self.members {
            member.keep(wanted, self.index);
        }
        self.members.retain(|member| !member.groups.is_empty());
        let joined: BTreeSet<_> = self.members.iter().flat_map(|member| member.groups.iter().copied()).collect();
        wanted.difference(&joined).try_for_each(|group| self.join(*group))
    }

    fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        let member = match self.members.iter_mut().position(|member| member.groups.len() < PER_SOCKET) {
            Some(place) => &mut self.members[place],
            None => {
                let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
                self.members.push_mut(Member { socket, groups: BTreeSet::new() })
            }
        };
        member.socket.join_multicast_v6(&group, self.index)?;
        member.groups.insert(group);
        Ok(())
    }
}

impl Member {
    fn keep(&mut self, wanted: &BTreeSet<Ipv6Addr>, index: u32) {
        for group in self.groups.extract_if(.., |group| !wanted.contains(group)) {
            if let Err(error) = self.socket.leave_multicast_v6(&group, index) {
                log::debug!("multicast group not left group={group} index={index} error={error}");
            }
        }
    }
}
