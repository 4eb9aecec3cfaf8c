//! Pods by number. Only the senders are there; of the others the node knows addresses.

use std::net::Ipv4Addr;

use super::site::Who;

/// Addresses of so many selected pods; the sender is in the middle of the list.
pub(super) fn addresses(count: usize) -> Vec<Ipv4Addr> {
    let mut all: Vec<Ipv4Addr> = (1..count).map(address).collect();
    all.insert(count / 2, Who::Selected.address());
    all
}

/// From 10.244.1.1 on, 250 in each third part.
fn address(number: usize) -> Ipv4Addr {
    let part = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, 244, part(1 + number / 250), part(1 + number % 250))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ten_thousand_pods_have_ten_thousand_addresses() {
        let all = addresses(10_000);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 10_000);
        assert!(!all.contains(&Who::Other.address()));
    }
}
