//! The order in which candidates come: rendezvous hashing.
//!
//! Guarantees: the same on every node and in every version; a candidate that comes or goes does not change
//! the order of the others. Leaves out: who lives.

use std::collections::BTreeSet;

use super::{Identity, NodeNumber};

/// Candidates by falling [`weight`], equal ones by rising number.
#[must_use]
pub fn order(identity: &Identity, candidates: &BTreeSet<NodeNumber>) -> Vec<NodeNumber> {
    let mut nodes: Vec<NodeNumber> = candidates.iter().copied().collect();
    nodes.sort_by_cached_key(|node| std::cmp::Reverse(weight(identity, *node)));
    nodes
}

/// FNV-1a (64 bits) over the name's bytes, a zero byte and the number's two bytes, highest first; then the finaliser
/// of splitmix64, because FNV alone hardly mixes its last bytes.
#[must_use]
pub fn weight(identity: &Identity, node: NodeNumber) -> u64 {
    let tail = [0].into_iter().chain(node.0.to_be_bytes());
    let fnv = identity
        .0
        .bytes()
        .chain(tail)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
