//! Sets of IP networks.
//!
//! Guarantees: networks that leave this module carry no host bits. Leaves out: merging of neighbours.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use crate::model::Family;

/// The network without host bits.
pub(super) fn canonical(network: IpNetwork) -> IpNetwork {
    IpNetwork::new(network.network(), network.prefix()).unwrap_or(network)
}

/// Whether `outer` holds every address of `inner`.
pub(super) fn encloses(outer: IpNetwork, inner: IpNetwork) -> bool {
    Family::of_network(outer) == Family::of_network(inner)
        && outer.prefix() <= inner.prefix()
        && outer.contains(inner.network())
}

/// What two networks have in common: the longer of two nested ones.
pub(super) fn common(a: IpNetwork, b: IpNetwork) -> Option<IpNetwork> {
    if encloses(a, b) {
        Some(canonical(b))
    } else if encloses(b, a) {
        Some(canonical(a))
    } else {
        None
    }
}

/// Common networks of two lists, of which an empty one means everything; `None` in the result is everything.
pub(super) fn intersection(a: &[IpNetwork], b: &[IpNetwork]) -> BTreeSet<Option<IpNetwork>> {
    match (a, b) {
        ([], []) => BTreeSet::from([None]),
        (one, []) | ([], one) => one.iter().map(|n| Some(canonical(*n))).collect(),
        _ => a.iter().flat_map(|a| b.iter().filter_map(|b| common(*a, *b))).map(Some).collect(),
    }
}

/// What has to be left out of `whole` (`None` = everything): sorted, none inside another. `None` if nothing
/// of `whole` remains.
pub(super) fn left_out(whole: Option<IpNetwork>, except: &BTreeSet<IpNetwork>) -> Option<Vec<IpNetwork>> {
    let family_gone = |family| except.iter().any(|e| e.prefix() == 0 && Family::of_network(*e) == family);
    let nothing_remains = match whole {
        Some(network) => except.iter().any(|e| encloses(*e, network)),
        None => Family::ALL.into_iter().all(family_gone),
    };
    if nothing_remains {
        return None;
    }
    let inside = |e: IpNetwork| whole.is_none_or(|network| encloses(network, e));
    let redundant = |e: IpNetwork| except.iter().any(|other| *other != e && encloses(*other, e));
    Some(except.iter().copied().filter(|e| inside(*e) && !redundant(*e)).collect())
}
