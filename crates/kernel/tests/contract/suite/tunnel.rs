//! The tunnel's device and the table of its frames.

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::ids::{self, TUNNEL_DEVICE, TUNNEL_GATEWAY4, TUNNEL_GATEWAY6};
use sortie_core::model::Family;
use sortie_core::nft::chain;
use sortie_core::state::{
    Mac, NftChange, NftElement, NftKey, NftMap, NftMapKind, NftTable, NftValue, Route, Rule, Step, TableFamily, Tunnel,
};
use sortie_kernel::Platform;

use super::{any, apply, device, hop, observed, route, rule, table, unicast};

/// Link address of a node in the tunnel.
pub(crate) fn mac(node: u8) -> Mac {
    Mac([0x02, 0x53, 0x4f, 0x52, 0, node])
}

/// Node 1 with peers at these numbers.
pub(crate) fn tunnel<const N: usize>(peers: [u8; N]) -> Tunnel {
    let address = |node: u8| [192, 0, 2, node].into();
    Tunnel { local: address(1), mac: mac(1), peers: peers.map(|node| (mac(node), address(node))).into() }
}

/// Both routes into the tunnel.
pub(crate) fn routes_in() -> [Route; 2] {
    let gateways = [TUNNEL_GATEWAY4.to_string(), TUNNEL_GATEWAY6.to_string()];
    let families = Family::ALL.into_iter().zip(gateways);
    let routes = families.map(|(f, gateway)| route(any(f), unicast([hop(TUNNEL_DEVICE, Some(&gateway), 1)])));
    routes.collect::<Vec<_>>().try_into().unwrap()
}

/// A table that gives frames with mark 0x100 the addresses of nodes.
pub(crate) fn frames(to: Mac, from: Mac) -> NftTable {
    let map = |mac| NftMap { kind: NftMapKind::MarkMac, elements: [(NftKey::Mark(0x100), NftValue::Mac(mac))].into() };
    let rules = ["ether daddr set meta mark map @kmac", "ether saddr set meta mark map @smac", "meta mark set 0"];
    let hook = format!("type filter hook egress device \"{TUNNEL_DEVICE}\" priority 0; policy accept;");
    NftTable {
        family: TableFamily::Netdev,
        counters: BTreeSet::new(),
        maps: BTreeMap::from([("kmac".into(), map(to)), ("smac".into(), map(from))]),
        chains: BTreeMap::from([("out".into(), chain(Some(&hook), rules.map(str::to_owned).into()))]),
    }
}

pub(crate) fn frame(map: &str, mark: u32, mac: Mac) -> NftElement {
    NftElement { map: map.into(), key: NftKey::Mark(mark), value: NftValue::Mac(mac) }
}

pub(crate) async fn a_tunnel_is_made_changed_and_removed_any_number_of_times(platform: &mut impl Platform) {
    let mut other = tunnel([2, 3]);
    other.peers.insert(mac(3), [192, 0, 2, 9].into());
    let moved = Tunnel { local: [192, 0, 2, 2].into(), mac: mac(2), ..tunnel([3]) };
    let v6 = Tunnel { local: "2001:db8::1".parse().unwrap(), mac: mac(1), peers: BTreeMap::new() };
    let v6_peer = Tunnel { peers: [(mac(2), "2001:db8::2".parse().unwrap())].into(), ..v6.clone() };
    apply(platform, Step::RemoveTunnel).await;
    for wanted in [tunnel([]), tunnel([2, 3]), other, tunnel([4]), moved, v6, v6_peer, tunnel([2])] {
        for _ in 0..2 {
            apply(platform, Step::EnsureTunnel(wanted.clone())).await;
            assert_eq!(observed(platform).await.tunnel, Some(wanted.clone()));
        }
        let facts = platform.facts().await.unwrap().devices[&device(TUNNEL_DEVICE)].clone();
        assert_eq!((facts.up, facts.mtu, facts.addresses), (true, 1500, vec![]));
    }
    for _ in 0..2 {
        apply(platform, Step::RemoveTunnel).await;
        assert_eq!(observed(platform).await.tunnel, None);
    }
    assert!(!platform.facts().await.unwrap().devices.contains_key(&device(TUNNEL_DEVICE)));
}

pub(crate) async fn what_hangs_on_the_tunnel_goes_with_it(platform: &mut impl Platform) {
    let lasting = Rule { iif: Some(device(TUNNEL_DEVICE)), priority: ids::PRIORITY_TUNNEL_EXIT, ..rule(Family::V4) };
    for round in 0..2 {
        for route in routes_in() {
            assert!(platform.apply(&Step::EnsureRoute(route)).await.is_err(), "there is no device");
        }
        apply(platform, Step::EnsureRule(lasting.clone())).await;
        assert_eq!(observed(platform).await.rules, BTreeSet::from([lasting.clone()]), "a rule waits for its device");
        apply(platform, Step::EnsureTunnel(tunnel([2]))).await;
        apply(platform, Step::EnableSrcValidMark(device(TUNNEL_DEVICE))).await;
        for route in routes_in() {
            apply(platform, Step::EnsureRoute(route)).await;
        }
        let whole = observed(platform).await;
        assert_eq!(whole.routes, BTreeSet::from(routes_in()));
        assert_eq!(whole.src_valid_mark, BTreeSet::from([device(TUNNEL_DEVICE)]));
        apply(platform, Step::EnsureTunnel(tunnel([3]))).await;
        assert_eq!(observed(platform).await.routes, whole.routes, "a change of peers takes nothing");
        match round {
            0 => apply(platform, Step::EnsureTunnel(Tunnel { mac: mac(9), ..tunnel([3]) })).await,
            _ => apply(platform, Step::RemoveTunnel).await,
        }
        let left = observed(platform).await;
        assert_eq!((left.routes, left.src_valid_mark), (BTreeSet::new(), BTreeSet::new()));
        assert_eq!(left.rules, BTreeSet::from([lasting.clone()]));
        apply(platform, Step::RemoveTunnel).await;
    }
    apply(platform, Step::RemoveRule(lasting)).await;
    assert_eq!(observed(platform).await.rules, BTreeSet::new());
}

pub(crate) async fn the_table_of_frames_stands_beside_the_other(platform: &mut impl Platform) {
    platform.can_address_frames().await.unwrap();
    let whole = frames(mac(2), mac(7));
    apply(platform, Step::EnsureTunnel(tunnel([2]))).await;
    apply(platform, Step::Nft(NftChange::Delete(TableFamily::Netdev))).await;
    apply(platform, Step::Nft(NftChange::Replace(table()))).await;
    assert_eq!(observed(platform).await.frames, None);
    for _ in 0..2 {
        apply(platform, Step::Nft(NftChange::Replace(whole.clone()))).await;
        assert_eq!(observed(platform).await.frames, Some(whole.clone()));
    }
    let family = TableFamily::Netdev;
    let (before, after) = (vec![frame("kmac", 0x100, mac(2))], vec![frame("kmac", 0x100, mac(3))]);
    let mut more = after.clone();
    more.push(frame("smac", 0x0003_0200, mac(4)));
    for _ in 0..2 {
        apply(platform, Step::Elements { family, remove: before.clone(), add: more.clone() }).await;
        let seen = observed(platform).await.frames.unwrap();
        for e in &more {
            assert_eq!(seen.maps[&e.map].elements.get(&e.key), Some(&e.value), "{e:?}");
        }
    }
    assert!(platform.apply(&Step::Elements { family, remove: vec![], add: before.clone() }).await.is_err());
    apply(platform, Step::Elements { family, remove: more, add: before }).await;
    assert_eq!(observed(platform).await.frames, Some(whole));
    assert_eq!(observed(platform).await.nft, Some(table()));
    apply(platform, Step::Nft(NftChange::Delete(family))).await;
    let left = observed(platform).await;
    assert_eq!((left.frames, left.nft), (None, Some(table())));
}
