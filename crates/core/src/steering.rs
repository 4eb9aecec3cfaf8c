//! Which other node a path leaves by.
//!
//! Guarantees: a path with a Service's address leaves by the node that owns it and by no other; any other path leaves here
//! while it can, and else by one live node that offers it, the same one while that lasts. Leaves out: who owns, and who
//! is alive.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::ObjectName;
use crate::ownership::{Identity, NodeNumber, weight};
use crate::selection::PathKey;

/// Numbers that a node has for the paths other nodes may send it.
pub type Offer = BTreeMap<PathKey, u16>;

/// The other nodes of the cluster, and what they do for each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Addresses by number.
    pub addresses: BTreeMap<u16, IpAddr>,
    /// What the live ones offer.
    pub offers: BTreeMap<u16, Arc<Offer>>,
    /// Who owns the addresses of a Service.
    pub owners: BTreeMap<ObjectName, u16>,
}

/// An exit on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The node's number.
    pub node: u16,
    /// Its number for the path.
    pub path: u16,
}

/// Where a path leaves by another node, if it does. `node` is this node's name: every node makes its own choice, so that
/// the exits share the load.
#[must_use]
pub fn remote(peers: &Peers, path: &PathKey, node: &str, before: Option<Remote>) -> Option<Remote> {
    let offered = |node: u16| Some(Remote { node, path: *peers.offers.get(&node)?.get(path)? });
    if let Some(service) = path.service() {
        return offered(*peers.owners.get(service)?);
    }
    let identity = Identity(format!("route/{}/{node}", path.route()?));
    let live = peers.offers.keys().filter(|node| peers.addresses.contains_key(node)).copied().filter_map(offered);
    before
        .and_then(|before| offered(before.node))
        .or_else(|| live.max_by_key(|remote| (weight(&identity, NodeNumber(remote.node)), remote.node)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::PathSource;

    fn path() -> PathKey {
        PathKey::Route { route: "billing".to_owned(), source: PathSource::Device }
    }

    fn sip() -> ObjectName {
        ObjectName { namespace: "core".to_owned(), name: "sip".to_owned() }
    }

    fn owned() -> PathKey {
        PathKey::Address { service: sip(), route: None }
    }

    fn peers(nodes: &[u16]) -> Peers {
        let address = |n: &u16| (*n, IpAddr::from([10, 0, 0, u8::try_from(*n).unwrap()]));
        let offer = |n: &u16| (*n, Arc::new(Offer::from([(path(), 100 + n), (owned(), 200 + n)])));
        Peers {
            addresses: nodes.iter().map(address).collect(),
            offers: nodes.iter().map(offer).collect(),
            owners: [(sip(), 3)].into(),
        }
    }

    #[test]
    fn an_address_leaves_by_its_owner_only() {
        let found = remote(&peers(&[2, 3, 4]), &owned(), "a", None);
        assert_eq!(found, Some(Remote { node: 3, path: 203 }));
        assert_eq!(remote(&peers(&[2, 4]), &owned(), "a", found), None, "the owner is not heard");
    }

    #[test]
    fn an_exit_stays_while_it_lives_and_another_follows() {
        let all = peers(&[2, 3, 4, 5]);
        let first = remote(&all, &path(), "a", None).unwrap();
        for other in [2, 3, 4, 5].into_iter().filter(|n| *n != first.node) {
            let fewer = peers(&[first.node, other]);
            assert_eq!(remote(&fewer, &path(), "a", Some(first)), Some(first));
            assert_eq!(remote(&peers(&[other]), &path(), "a", Some(first)).unwrap().node, other);
        }
        assert_eq!(remote(&peers(&[]), &path(), "a", Some(first)), None);
    }

    #[test]
    fn nodes_share_the_exits() {
        let all = peers(&[2, 3]);
        let chosen = |i: usize| remote(&all, &path(), &format!("node-{i}"), None).unwrap().node;
        let twos = (0..200).filter(|i| chosen(*i) == 2).count();
        assert!((60..140).contains(&twos), "{twos} of 200");
    }

    #[test]
    fn a_number_that_changed_is_taken_over() {
        let mut all = peers(&[2]);
        let first = remote(&all, &path(), "a", None);
        all.offers.insert(2, Arc::new(Offer::from([(path(), 7)])));
        assert_eq!(remote(&all, &path(), "a", first), Some(Remote { node: 2, path: 7 }));
    }
}
