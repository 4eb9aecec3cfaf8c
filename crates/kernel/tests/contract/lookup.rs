//! Questions to the kernel, and what iproute2 is told.

use std::net::IpAddr;

use sortie_core::doctor::ForeignRule;
use sortie_core::model::Family;
use sortie_kernel::blocking::Rules;
use sortie_kernel::lookup::{Answer, Lookup, Packet};
use sortie_kernel::survey;

use crate::suite::device;
use crate::support::{attempt, in_namespace, run};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn packet((from, to): (&str, &str), mark: u32) -> Packet {
    Packet { from: address(from), to: address(to), incoming: device("a"), mark, protocol: 17, ports: (5060, 7000) }
}

/// What `ip` is told must hold the device, the gateway and the table of the answer.
fn same(lookup: &mut Lookup, packet: &Packet, words: &[&str]) {
    let answer = lookup.forward(packet).unwrap().to_string();
    let family = if packet.to.is_ipv4() { "-4" } else { "-6" };
    let question = packet.to_string().replacen("ip ", &format!("ip {family} "), 1).replace("ipproto 17", "ipproto udp");
    let said = run(&question);
    for word in words {
        assert!(
            answer.contains(word) && said.contains(word.trim_start_matches("table ")),
            "{word}: {answer}; ip: {said}"
        );
    }
}

#[test]
fn the_kernel_is_asked_what_ip_route_get_asks() {
    in_namespace(async |_| {
        run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0");
        for (family, gateway) in [("-4", "192.0.2.4"), ("-6", "2001:db8:2::9")] {
            run(&format!("ip {family} route add default via {gateway} dev b onlink table 10000"));
            run(&format!("ip {family} route add unreachable default table 11063"));
            run(&format!("ip {family} rule add pref 1399 fwmark 0x1/0x3f lookup 10000"));
            run(&format!("ip {family} rule add pref 1399 fwmark 0x3f/0x3f lookup 11063"));
            run(&format!("ip {family} rule add pref 1300 ipproto udp sport 5099 lookup 11063"));
        }
        let mut lookup = Lookup::open().unwrap();
        for (pair, gateway) in
            [(("192.0.2.3", "198.51.100.5"), "192.0.2.4"), (("2001:db8:1::7", "2001:db8:f::5"), "2001:db8:2::9")]
        {
            same(&mut lookup, &packet(pair, 1), &[&format!("via {gateway}"), "dev b", "table 10000"]);
            for refused in [packet(pair, 0x3f), packet(pair, 0), Packet { ports: (5099, 1), ..packet(pair, 1) }] {
                let answer = lookup.forward(&refused).unwrap();
                assert!(matches!(answer, Answer::Refused(_)) && !answer.is_source_check(), "{refused}: {answer}");
            }
            let other = Packet { protocol: 132, ports: (5099, 1), ..packet(pair, 1) };
            assert!(matches!(lookup.forward(&other).unwrap(), Answer::Sent { .. }), "SCTP cannot be said to it");
        }
        assert_eq!(lookup.towards(address("2001:db8:2::9")).unwrap(), device("b"));
        assert_eq!(lookup.towards(address("2001:db8:1::9")).unwrap(), device("a"));
        run("sysctl -qw net.ipv4.conf.a.rp_filter=1");
        let spoofed = lookup.forward(&packet(("203.0.113.9", "198.51.100.5"), 1)).unwrap();
        assert!(spoofed.is_source_check(), "{spoofed}");
        let gone = Packet { incoming: device("none"), ..packet(("192.0.2.3", "198.51.100.5"), 1) };
        assert!(lookup.forward(&gone).unwrap_err().to_string().contains("no device none"));
    });
}

#[test]
fn rules_of_others_are_told_and_those_that_take_everything_are_known() {
    in_namespace(async |_| {
        run("ip rule add pref 1000 lookup main");
        run("ip rule add pref 1001 from 198.51.100.1 lookup 77");
        run("ip rule add pref 1002 lookup main suppress_prefixlength 0");
        run("ip rule add pref 1003 not fwmark 0x5 lookup 78");
        run("ip rule add pref 1004 fwmark 0x1/0x3f lookup 10000 protocol 155");
        run("ip rule add pref 1005 unreachable");
        run("ip -6 rule add pref 1006 lookup 300000");
        let rules = Rules::open().unwrap().foreign().unwrap();
        let four = |priority, table, is_for_all| ForeignRule { family: Family::V4, priority, table, is_for_all };
        let own: Vec<_> =
            rules.iter().filter(|r| r.family == Family::V4 && (1..2000).contains(&r.priority)).cloned().collect();
        let expected = [
            four(1000, 254, true),
            four(1001, 77, false),
            four(1002, 254, false),
            four(1003, 78, false),
            four(1005, 0, true),
        ];
        assert_eq!(own, expected);
        assert!(rules.contains(&ForeignRule { family: Family::V6, priority: 1006, table: 300_000, is_for_all: true }));
    });
}

#[test]
fn what_is_surveyed_is_what_the_programs_say() {
    in_namespace(async |_| {
        run("nft add table ip other");
        let ruleset = survey::ruleset().await.unwrap();
        assert!(ruleset["nftables"].as_array().unwrap().iter().any(|o| o["table"]["name"] == "other"));
        assert_eq!(survey::release().unwrap(), run("uname -r").trim());
        assert_eq!(survey::nft_version().await.unwrap(), run("nft --version"));
        let names = ["net/ipv4/ip_forward", "net/ipv4/conf/a/rp_filter", "net/nothing/here"].map(str::to_owned);
        let switches = survey::switches(&names);
        assert_eq!(switches.get("net/ipv4/ip_forward"), Some(&run("sysctl -n net.ipv4.ip_forward").trim().to_owned()));
        assert_eq!(switches.len(), 2);
        let missing = survey::saved_rules("no-such-program").await.unwrap_err();
        assert!(missing.to_string().contains("no-such-program"));
        let (_, said) = attempt("nft list tables");
        let table = sortie_core::state::NftTable::default();
        survey::accepts(&sortie_core::state::NftChange::Replace(table)).await.unwrap();
        assert_eq!(attempt("nft list tables").1, said, "it was only asked");
    });
}
