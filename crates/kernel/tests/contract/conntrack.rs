//! Connection-tracking entries as `conntrack` sees them.

use sortie_core::model::Family;
use sortie_core::state::{ConntrackFilter, NftChange, NftMap, NftMapKind, NftTable, Step, Verdicts};
use sortie_kernel::Platform as _;
use sortie_kernel::blocking::Conntrack;

use crate::support::{in_namespace, run};

/// Five flows of two pods, both families.
fn flows() {
    let insert = |from: &str, to: &str, rest: &str| {
        run(&format!("conntrack -I -s {from} -d {to} --timeout 300 {rest}"));
    };
    insert("10.1.0.5", "198.51.100.7", "-p udp --sport 5000 --dport 53 --mark 0x70100");
    insert("10.1.0.5", "198.51.100.7", "-p tcp --sport 5001 --dport 80 --state ESTABLISHED --mark 0x200");
    insert("198.51.100.9", "10.1.0.5", "-p udp --sport 5002 --dport 53 --mark 0x100");
    insert("10.1.0.6", "198.51.100.7", "-p udp --sport 5003 --dport 53 --mark 0");
    insert("fd00::5", "2001:db8:f::7", "-p udp --sport 5004 --dport 53 --mark 0x100");
}

/// Source ports of the flows that are left.
fn left() -> Vec<u16> {
    let mut ports = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let shown = run(&format!("conntrack -L -f {family}"));
        let port = |line: &str| {
            line.split_whitespace().find_map(|w| w.strip_prefix("sport=")).map(|p| p.parse::<u16>().unwrap())
        };
        ports.extend(shown.lines().filter_map(port));
    }
    ports.sort_unstable();
    ports
}

fn delete(filters: &[ConntrackFilter]) -> (usize, Vec<u16>) {
    run("conntrack -F");
    flows();
    assert_eq!(left(), [5000, 5001, 5002, 5003, 5004]);
    let deleted = Conntrack::open().unwrap().delete(filters).unwrap();
    (deleted, left())
}

#[test]
fn only_what_a_filter_takes_is_deleted() {
    in_namespace(async |_| {
        let address = |text: &str| ConntrackFilter::Address(text.parse().unwrap());
        assert_eq!(delete(&[]), (0, vec![5000, 5001, 5002, 5003, 5004]));
        assert_eq!(delete(&[address("10.1.0.5")]), (3, vec![5003, 5004]));
        assert_eq!(delete(&[address("fd00::5"), address("10.1.0.6")]), (2, vec![5000, 5001, 5002]));
        assert_eq!(delete(&[address("10.1.0.9")]), (0, vec![5000, 5001, 5002, 5003, 5004]));
        let mark = ConntrackFilter::Mark { value: 0x100, mask: 0xff00 };
        assert_eq!(delete(&[mark]), (3, vec![5001, 5003]));
        assert_eq!(delete(&[ConntrackFilter::AnyMark { mask: 0xff00 }]), (4, vec![5003]));
        assert_eq!(delete(&[ConntrackFilter::AnyMark { mask: 0xf_0000 }]), (1, vec![5001, 5002, 5003, 5004]));
    });
}

#[test]
fn flows_that_carry_what_they_should_not_are_deleted() {
    in_namespace(async |_| {
        let nothing = Verdicts::default();
        let pod = "10.1.0.5".parse().unwrap();
        let filter = ConntrackFilter::Reassigned { address: pod, mask: 0xff00, verdicts: nothing };
        assert_eq!(delete(&[filter]), (3, vec![5003, 5004]));
    });
}

#[test]
fn a_purge_is_a_step_and_twice_is_once() {
    in_namespace(async |node| {
        flows();
        let mut linux = node.linux();
        let purge = Step::PurgeConntrack(vec![ConntrackFilter::AnyMark { mask: 0xff00 }]);
        linux.apply(&purge).await.unwrap();
        linux.apply(&purge).await.unwrap();
        assert_eq!(left(), [5003]);
    });
}

#[test]
fn answers_to_what_a_purge_deletes_are_held_back() {
    in_namespace(async |node| {
        flows();
        let mut linux = node.linux();
        let late = [("late4", Family::V4), ("late6", Family::V6)];
        let set = |family| NftMap { kind: NftMapKind::Tuples(family), elements: std::collections::BTreeMap::new() };
        let maps = late.map(|(name, family)| (name.to_owned(), set(family))).into();
        let table = NftTable { maps, ..NftTable::default() };
        linux.apply(&Step::Nft(NftChange::Replace(table.clone()))).await.unwrap();
        let pods = ["10.1.0.5", "fd00::5"].map(|a| ConntrackFilter::Address(a.parse().unwrap()));
        linux.apply(&Step::PurgeConntrack(pods.to_vec())).await.unwrap();
        assert_eq!(left(), [5003]);
        let held = |set: &str| run(&format!("nft list set inet sortie {set}"));
        let shown = held("late4");
        assert!(shown.contains("198.51.100.7 . 10.1.0.5 . udp . 53 . 5000 expires"), "{shown}");
        assert!(shown.contains("198.51.100.7 . 10.1.0.5 . tcp . 80 . 5001 expires"), "{shown}");
        assert_eq!(shown.matches("expires").count(), 2, "not what the far end opened: {shown}");
        assert!(held("late6").contains("2001:db8:f::7 . fd00::5 . udp . 53 . 5004 expires"), "{}", held("late6"));
        assert_eq!(linux.observe().await.unwrap().nft, Some(table), "what is held back is no state");
    });
}

#[test]
fn flows_of_another_zone_are_found_by_their_zone() {
    in_namespace(async |_| {
        run("conntrack -I -s 10.1.0.5 -d 198.51.100.7 -p udp --sport 6000 --dport 53 --timeout 300 -w 5");
        run("conntrack -I -s 10.1.0.5 -d 198.51.100.7 -p udp --sport 6000 --dport 53 --timeout 300 -w 6");
        let filter = ConntrackFilter::Address("10.1.0.5".parse().unwrap());
        assert_eq!(Conntrack::open().unwrap().delete(&[filter]).unwrap(), 2);
        assert_eq!(left(), [0_u16; 0]);
    });
}
