//! The table as `nft` sees it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sortie_core::state::{NftChange, NftElement, NftKey, NftMap, NftMapKind, NftTable, NftValue, Step, TableFamily};
use sortie_kernel::Platform as _;
use sortie_kernel::blocking::Elements;

use crate::suite::{address, element, table};
use crate::support::{eventually, in_namespace, json as read, run};

fn elements_shown(map: &str) -> Value {
    let shown = read(&format!("nft -j list map inet sortie {map}"));
    let find = |object: &Value| object.get("map").map(|map| map["elem"].clone());
    shown["nftables"].as_array().unwrap().iter().find_map(find).unwrap()
}

#[test]
fn elements_added_over_netlink_are_shown_as_they_are() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        linux.apply(&Step::Nft(NftChange::Replace(table()))).await.unwrap();
        let add = vec![
            element("exit", NftKey::Mark(0x0001_0200), "e1"),
            element("sel4", address("10.1.0.6"), "s1"),
            element("sel6", address("fd00::6"), "s1"),
            NftElement { map: "pods6".into(), key: address("fd00::7"), value: NftValue::Member },
        ];
        linux.apply(&Step::Elements { family: TableFamily::Inet, remove: vec![], add }).await.unwrap();
        let goto = |chain: &str| json!({ "goto": { "target": chain } });
        assert_eq!(elements_shown("exit"), json!([[0x100, goto("e1")], [0x0001_0200, goto("e1")]]));
        assert_eq!(elements_shown("sel4"), json!([["10.1.0.5", goto("s1")], ["10.1.0.6", goto("s1")]]));
        assert_eq!(elements_shown("sel6"), json!([["fd00::5", goto("s1")], ["fd00::6", goto("s1")]]));
        assert!(run("nft list set inet sortie pods6").contains("fd00::7"));
        // What the text of the core and the messages make must be one and the same: `nft` removes both.
        run("nft delete element inet sortie exit { 0x00010200 : goto e1 }");
        run("nft delete element inet sortie sel6 { fd00::6 : goto s1 }");
    });
}

#[test]
fn a_replaced_element_is_never_missing() {
    in_namespace(async |node| {
        node.linux().apply(&Step::Nft(NftChange::Replace(table()))).await.unwrap();
        let (mut writer, mut reader) = (Elements::open().unwrap(), Elements::open().unwrap());
        let write = std::thread::spawn(move || {
            let key = NftKey::Mark(0x100);
            for _ in 0..500 {
                writer.apply(TableFamily::Inet, &[element("exit", key, "e1")], &[element("exit", key, "s1")]).unwrap();
                writer.apply(TableFamily::Inet, &[element("exit", key, "s1")], &[element("exit", key, "e1")]).unwrap();
            }
        });
        let mut looked = 0;
        while !write.is_finished() {
            // Under a storm of transactions a reading may give up, but it never shows a mixture.
            let Ok(seen) = reader.table(TableFamily::Inet) else { continue };
            assert_eq!(seen.unwrap().maps["exit"].elements.len(), 1);
            looked += 1;
        }
        write.join().unwrap();
        assert!(looked > 0);
    });
}

#[test]
fn a_table_that_goes_away_is_read_as_a_whole_or_not_at_all() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        for _ in 0..100 {
            linux.apply(&Step::Nft(NftChange::Replace(table()))).await.unwrap();
            let mut reader = Elements::open().unwrap();
            let read = std::thread::spawn(move || {
                while let Some(found) = reader.table(TableFamily::Inet).unwrap() {
                    assert_eq!(found, table());
                }
            });
            run("nft flush ruleset");
            read.join().unwrap();
        }
    });
}

#[test]
fn ten_thousand_elements_are_one_transaction() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        linux.apply(&Step::Nft(NftChange::Replace(table()))).await.unwrap();
        let before = run("nft list ruleset");
        let pod = |i: u32| NftKey::Address(std::net::Ipv6Addr::from((0xfd01_u128 << 112) + u128::from(i)).into());
        let all: Vec<_> = (0..10_000).map(|i| element("sel6", pod(i), "s1")).collect();
        let start = Instant::now();
        let mut bad = all.clone();
        bad.push(element("sel6", address("fd00::9"), "nowhere"));
        assert!(linux.apply(&Step::Elements { family: TableFamily::Inet, remove: vec![], add: bad }).await.is_err());
        assert_eq!(run("nft list ruleset"), before, "as a whole or not at all");
        linux.apply(&Step::Elements { family: TableFamily::Inet, remove: vec![], add: all.clone() }).await.unwrap();
        assert_eq!(linux.observe().await.unwrap().nft.unwrap().maps["sel6"].elements.len(), 10_001);
        assert_eq!(elements_shown("sel6").as_array().unwrap().len(), 10_001);
        let mut some_absent = all.clone();
        some_absent.push(element("sel6", address("fd00::9"), "s1"));
        linux.apply(&Step::Elements { family: TableFamily::Inet, remove: some_absent, add: vec![] }).await.unwrap();
        assert_eq!(run("nft list ruleset"), before);
        println!("10 000 elements refused, added, read and removed in {:?}", start.elapsed());
    });
}

#[test]
fn what_others_changed_in_the_table_is_seen() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        for change in [
            "nft flush chain inet sortie e1",
            "nft add rule inet sortie s1 accept",
            "nft insert rule inet sortie s1 accept",
            "nft add chain inet sortie mine",
            "nft delete element inet sortie exit { 0x100 : goto e1 }",
            "nft add element inet sortie pods4 { 10.9.9.9 }",
            "nft flush chain inet sortie pre",
            "nft add set inet sortie more { type ipv4_addr; }",
        ] {
            linux.apply(&Step::Nft(NftChange::Replace(table()))).await.unwrap();
            run(change);
            assert_ne!(linux.observe().await.unwrap().nft, Some(table()), "{change}");
        }
        // A verdict we never write shows as an element to be replaced.
        linux.apply(&Step::Nft(NftChange::Replace(table()))).await.unwrap();
        run("nft add element inet sortie exit { 0x300 : accept }");
        let seen = linux.observe().await.unwrap().nft.unwrap();
        assert_ne!(seen, table());
        let odd = NftElement { map: "exit".into(), key: NftKey::Mark(0x300), value: NftValue::Goto(String::new()) };
        linux.apply(&Step::Elements { family: TableFamily::Inet, remove: vec![odd], add: vec![] }).await.unwrap();
        assert_eq!(linux.observe().await.unwrap().nft, Some(table()));
        // Sets of kinds that are not ours are left out.
        run("nft add set inet sortie odd { type inet_service; flags interval; }");
        assert_eq!(linux.observe().await.unwrap().nft, Some(table()));
        run("nft flush ruleset");
        assert_eq!(linux.observe().await.unwrap().nft, None);
    });
}

#[test]
fn counters_count_packets() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        linux.apply(&Step::Nft(NftChange::Replace(table()))).await.unwrap();
        run("nft add chain inet sortie out { type filter hook output priority 0; }");
        run("nft add rule inet sortie out oif lo icmp type echo-request counter name drop_exit");
        run("ping -c 3 -i 0.01 -q 127.0.0.1");
        let counters = linux.counters().await.unwrap();
        assert_eq!((counters["drop_exit"], counters["drop_source"]), (3, 0));
    });
}

#[test]
fn a_refused_transaction_carries_the_words_of_nft() {
    in_namespace(async |node| {
        let mut broken = table();
        broken.chains.insert("x".into(), sortie_core::nft::chain(None, vec!["goto nowhere".into()]));
        let error = node.linux().apply(&Step::Nft(NftChange::Replace(broken))).await.unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn the_lease_ends_by_itself_and_a_renewal_may_shorten_it() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        let map = NftMap { kind: NftMapKind::Lease, elements: std::collections::BTreeMap::new() };
        let table = NftTable { maps: [("lease".to_owned(), map)].into(), ..NftTable::default() };
        let mut elements = Elements::open().unwrap();
        assert!(elements.renew_lease(Duration::from_secs(5)).is_err(), "there is no table");
        linux.apply(&Step::Nft(NftChange::Replace(table.clone()))).await.unwrap();
        let held = || run("nft list set inet sortie lease").matches("expires").count();
        for seconds in [9, 7, 100] {
            elements.renew_lease(Duration::from_secs(seconds)).unwrap();
            assert_eq!(held(), 2);
            let left = elements.lease_left().unwrap();
            assert!(left > Duration::from_secs(seconds - 2) && left <= Duration::from_secs(seconds), "{left:?}");
        }
        assert_eq!(linux.observe().await.unwrap().nft, Some(table), "the lease is no state");
        elements.renew_lease(Duration::from_millis(150)).unwrap();
        assert_eq!(held(), 2);
        eventually("the end of the lease", || held() == 0);
        elements.renew_lease(Duration::from_secs(5)).unwrap();
        elements.renew_lease(Duration::ZERO).unwrap();
        assert_eq!((held(), elements.lease_left().unwrap()), (0, Duration::ZERO));
        elements.renew_lease(Duration::ZERO).unwrap();
    });
}
