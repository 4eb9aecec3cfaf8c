//! Connection tracking: which entries are to go, and what flows are to carry.
//!
//! Guarantees: whether an entry goes depends on nothing but the entry and the filter. Leaves out: deleting.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::selection::FlowMatch;

/// Which connection-tracking entries to delete; [`ConntrackFilter::selects`] decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConntrackFilter {
    /// Either direction's source is the address.
    Address(IpAddr),
    /// The masked connection mark has this value.
    Mark {
        /// Value after masking.
        value: u32,
        /// Mask.
        mask: u32,
    },
    /// Flows of a path that carry none of the addresses it leaves with: they began while another node had those.
    Unaddressed {
        /// Value after masking.
        value: u32,
        /// Mask.
        mask: u32,
        /// Addresses of the path's Service.
        addresses: Vec<IpAddr>,
    },
    /// Any bit under the mask is set.
    AnyMark {
        /// Mask.
        mask: u32,
    },
    /// Flows of a pod whose path is no longer the one they carry.
    Reassigned {
        /// Pod address.
        address: IpAddr,
        /// Bits of the connection mark that hold the path.
        mask: u32,
        /// What the pod's flows are to carry now.
        verdicts: Verdicts,
    },
    /// Flows that look as if the pod had accepted them by another door, while their other direction is
    /// selected. After the loss of our table an answer to a packet that went astray makes such an entry, and
    /// the pod's packets would go on by that door as its answers.
    Reversed {
        /// Pod address.
        address: IpAddr,
        /// Bits of the connection mark that hold the path.
        mask: u32,
        /// What the pod's flows are to carry.
        verdicts: Verdicts,
    },
    /// Flows that somebody outside began to the address while this node did not serve it.
    Unserved {
        /// Address of a Service.
        address: IpAddr,
        /// Bits of the connection mark that hold the path.
        mask: u32,
        /// Networks of the cluster, from which such a flow needs no path.
        inside: Vec<IpNetwork>,
    },
}

/// What each flow of a pod is to carry in its connection mark: the first match, 0 when none matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verdicts {
    /// Tests in order, with the mark's value after masking.
    pub flows: Vec<(FlowMatch, u32)>,
    /// Networks that are never selected.
    pub excluded: Vec<IpNetwork>,
}

/// One end-to-end tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Source port; 0 for protocols without ports.
    pub source_port: u16,
    /// Destination port; 0 for protocols without ports.
    pub destination_port: u16,
}

/// A connection-tracking entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackEntry {
    /// First packet's direction.
    pub original: Tuple,
    /// What answers look like.
    pub reply: Tuple,
    /// Connection mark.
    pub mark: u32,
}

impl ConntrackFilter {
    /// Whether the entry is to be deleted.
    #[must_use]
    pub fn selects(&self, entry: &ConntrackEntry) -> bool {
        match self {
            Self::Address(address) => entry.original.source == *address || entry.reply.source == *address,
            Self::Mark { value, mask } => entry.mark & mask == *value,
            Self::Unaddressed { value, mask, addresses } => {
                let ends = [entry.original.destination, entry.reply.destination];
                entry.mark & mask == *value && !ends.iter().any(|end| addresses.contains(end))
            }
            Self::AnyMark { mask } => entry.mark & mask != 0,
            Self::Reassigned { address, mask, verdicts } => verdicts.differs(*address, entry, entry.mark & mask),
            Self::Reversed { address, mask, verdicts } => {
                entry.mark & mask == 0 && entry.reply.source == *address && verdicts.of_accepted(entry) != 0
            }
            Self::Unserved { address, mask, inside } => {
                let is_inside = inside.iter().any(|network| network.contains(entry.original.source));
                entry.mark & mask == 0 && entry.original.destination == *address && !is_inside
            }
        }
    }

    /// Whether what it takes leads nowhere until it goes: the guard drops what leaves a path without its address. Then
    /// nobody has to wait for the walk through the table.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        matches!(self, Self::Unaddressed { .. } | Self::Unserved { .. })
    }

    /// What answers to the entry look like that are still under way when it is deleted; `None` when the
    /// far end opened the flow, whose own packets may make a new one at any time.
    #[must_use]
    pub fn answer(&self, entry: &ConntrackEntry) -> Option<Tuple> {
        match self {
            Self::Address(pod) | Self::Reassigned { address: pod, .. } => {
                (entry.original.source == *pod).then_some(entry.reply)
            }
            Self::Mark { .. } | Self::Unaddressed { .. } | Self::AnyMark { .. } => Some(entry.reply),
            Self::Reversed { .. } => Some(entry.original),
            Self::Unserved { .. } => None,
        }
    }
}

impl Verdicts {
    /// A flow the pod opened must carry its verdict; one it accepted, its verdict or nothing (it came by
    /// another door).
    fn differs(&self, pod: IpAddr, entry: &ConntrackEntry, carried: u32) -> bool {
        let (answer, ask) = (&entry.reply, &entry.original);
        if ask.source == pod {
            return carried != self.of(ask.protocol, ask.source_port, (answer.source, answer.source_port));
        }
        answer.source == pod && carried != 0 && carried != self.of_accepted(entry)
    }

    /// The mark of a flow the pod accepted.
    fn of_accepted(&self, entry: &ConntrackEntry) -> u32 {
        let (answer, ask) = (&entry.reply, &entry.original);
        self.of(ask.protocol, answer.source_port, (ask.source, ask.source_port))
    }

    /// The mark of a flow between the pod's port and the far end.
    #[must_use]
    pub fn of(&self, protocol: u8, own_port: u16, far: (IpAddr, u16)) -> u32 {
        if self.excluded.iter().any(|n| n.contains(far.0)) {
            return 0;
        }
        let found = self.flows.iter().find(|(matcher, _)| matcher.matches(protocol, own_port, far));
        found.map_or(0, |(_, mark)| *mark)
    }
}
