//! What changes in the kernel, as far as it concerns us.
//!
//! Guarantees: a change of ours by somebody else, of a device or of an address is reported; changes through
//! [`crate::Linux`] itself are not; lost notifications are reported as [`Event::Overrun`]. Leaves out: what exactly
//! changed, which observing tells; and neighbours and forwarding entries of the tunnel, because their group tells of every
//! neighbour of the node.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use sortie_core::ids::Numbers;

use crate::linux::Own;
use crate::netlink::message::Messages;
use crate::{Event, KernelError};

mod filter;

use filter::Filter;

/// With the default size 256 of 4000 rule notifications arrived. Bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
/// `RTNLGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`, `_IPV6_RULE`.
const ROUTE_GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// `NFNLGRP_NFTABLES`.
const NFT_GROUPS: [u32; 1] = [7];
/// A socket that fails in another way than losing notifications is not read in a tight loop.
const PAUSE: Duration = Duration::from_secs(1);

/// Notifications of the network namespace it was opened in.
pub struct Events {
    route: TokioSocket,
    nft: TokioSocket,
    filter: Filter,
    pending: VecDeque<Event>,
}

impl Events {
    /// Starts listening; whatever changes from here on is reported. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses a socket, its buffer or a group.
    pub fn open(own: Own, numbers: Numbers) -> Result<Self, KernelError> {
        let error =
            |source| KernelError::System { operation: "listen", object: "netlink notifications".into(), source };
        let route = listen(NETLINK_ROUTE, &ROUTE_GROUPS, RECEIVE_BUFFER).map_err(error)?;
        let nft = listen(NETLINK_NETFILTER, &NFT_GROUPS, RECEIVE_BUFFER).map_err(error)?;
        Ok(Self { route, nft, filter: Filter::new(own, numbers), pending: VecDeque::new() })
    }

    /// The next change. Equal changes that wait together are reported once. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            let received = tokio::select! {
                received = self.route.recv_from_full() => received.map(|(bytes, _)| (bytes, NETLINK_ROUTE)),
                received = self.nft.recv_from_full() => received.map(|(bytes, _)| (bytes, NETLINK_NETFILTER)),
            };
            match received {
                Ok((datagram, family)) => self.take(&datagram, family),
                Err(error) => return overrun(error).await,
            }
        }
    }

    fn take(&mut self, datagram: &[u8], family: isize) {
        for message in Messages::of(datagram) {
            let event = match family {
                NETLINK_ROUTE => self.filter.route(&message),
                _ => self.filter.nft(&message),
            };
            if let Some(event) = event.filter(|event| !self.pending.contains(event)) {
                self.pending.push_back(event);
            }
        }
    }
}

/// Waits a little after an error that is not a loss of notifications.
pub(crate) async fn overrun(error: io::Error) -> Event {
    if error.raw_os_error() != Some(libc::ENOBUFS) {
        log::error!("netlink notifications cannot be read error={error}");
        tokio::time::sleep(PAUSE).await;
    }
    Event::Overrun
}

/// A socket in these groups with a receive buffer of so many bytes.
pub(crate) fn listen(family: isize, groups: &[u32], buffer: usize) -> io::Result<TokioSocket> {
    let mut async_socket = TokioSocket::new(family)?;
    let socket = async_socket.socket_mut();
    setsockopt(socket, sockopt::RcvBufForce, &buffer)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    groups.iter().try_for_each(|group| socket.add_membership(*group))?;
    Ok(async_socket)
}
