//! Facts of a node on which nothing is wrong, and what one wrong fact makes of them.

use serde_json::json;

use super::marks::{by_iptables, by_nft};
use super::*;
use crate::ids::TUNNEL_DEVICE;

fn device(name: &str, mtu: u32) -> (DeviceName, Device) {
    (DeviceName(name.to_owned()), Device { index: 1, up: true, mtu, addresses: Vec::new() })
}

fn network(plugins: &[&str]) -> Files {
    let plugins: Vec<Value> = plugins.iter().map(|kind| json!({"type": kind})).collect();
    let text = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}).to_string();
    [("10-pods.conflist".to_owned(), text.into_bytes())].into()
}

fn good() -> Facts {
    let switches = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "1"),
        ("net/ipv4/conf/eth1/rp_filter", "0"),
        ("net/ipv4/conf/all/src_valid_mark", "0"),
        ("net/ipv4/conf/eth1/src_valid_mark", "1"),
        ("net/ipv4/conf/eth1/forwarding", "1"),
        ("net/netfilter/nf_conntrack_count", "10"),
        ("net/netfilter/nf_conntrack_max", "1000"),
    ];
    Facts {
        numbers: Numbers::default(),
        kernel: "6.1.0-37-amd64".into(),
        nft: Ok("nftables v1.0.6 (Lester Gooch #5)\n".into()),
        table: Ok(()),
        egress: Ok(()),
        switches: switches.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        devices: Ok([device("eth0", 1500), device("eth1", 1500)].into()),
        exits: Ok([(DeviceName("eth1".into()), Family::V4)].into()),
        is_loaded: true,
        rules: Ok(vec![
            ForeignRule { family: Family::V4, priority: 0, table: 255, is_for_all: true },
            ForeignRule { family: Family::V4, priority: 32_766, table: 254, is_for_all: true },
            ForeignRule { family: Family::V4, priority: 9, table: 2004, is_for_all: false },
        ]),
        foreign_tables: Ok(BTreeSet::new()),
        ruleset: Ok(json!({"nftables": []})),
        iptables: BTreeMap::new(),
        network: Ok(network(&["bridge", "portmap", "sortie"])),
        plugin: Ok(Plugin::Same),
        networkd: Ok(None),
        key: Ok(Ok(())),
        helper: Ok(Status::default()),
    }
}

/// The only finding about changed facts.
fn one(change: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = good();
    change(&mut facts);
    let report = judge(&facts);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    let finding = report.findings[0].clone();
    assert!(!finding.meaning.is_empty() && !finding.remedy.is_empty());
    assert_eq!(report.ok, finding.severity != Severity::Error);
    finding
}

fn is(finding: &Finding, check: &str, severity: Severity, word: &str) {
    assert_eq!((finding.check.as_str(), finding.severity), (check, severity), "{finding:#?}");
    assert!(format!("{finding:?}").contains(word), "{word:?} is not in {finding:#?}");
}

#[test]
fn a_good_node_has_no_finding_and_every_check_was_made() {
    let report = judge(&good());
    assert_eq!((report.findings.as_slice(), report.ok, report.checked.len()), (&[][..], true, CHECKS.len()));
}

#[test]
fn what_cannot_be_seen_is_listed_and_no_finding() {
    let unseen = || "no permission".to_owned();
    let facts = Facts {
        kernel: "strange".into(),
        switches: BTreeMap::new(),
        devices: Err(unseen()),
        exits: Err(unseen()),
        rules: Err(unseen()),
        foreign_tables: Err(unseen()),
        ruleset: Err(unseen()),
        network: Err(unseen()),
        networkd: Err(unseen()),
        key: Err(unseen()),
        ..good()
    };
    let report = judge(&facts);
    assert_eq!(report.findings, []);
    let unseen: Vec<&str> = report.not_checked.keys().map(String::as_str).collect();
    let all = [
        "cni",
        "conntrack",
        "forward",
        "forwarding",
        "kernel",
        "marks",
        "mtu",
        "networkd",
        "peerKey",
        "rules",
        "sourceCheck",
        "tables",
    ];
    assert_eq!(unseen, all);
}

#[test]
fn old_kernels_and_programs_are_errors_and_new_ones_are_not() {
    is(&one(|f| f.kernel = "4.19.0".into()), "kernel", Severity::Error, "5.2");
    is(&one(|f| f.kernel = "5.1.21".into()), "kernel", Severity::Error, "5.1.21");
    is(&one(|f| f.nft = Ok("nftables v0.9.8 (E.D.S.)".into())), "nft", Severity::Error, "1.0.6");
    let missing =
        |f: &mut Facts| (f.nft, f.table, f.egress) = (Err("not found".into()), Err("x".into()), Err("x".into()));
    is(&one(missing), "nft", Severity::Error, "not found");
    is(&one(|f| f.table = Err("fib: No such file".into())), "table", Severity::Error, "fib");
    is(&one(|f| f.egress = Err("the egress hook of devices is not there".into())), "egress", Severity::Warning, "5.16");
    for (kernel, nft) in [("5.2.0", "v1.0.6"), ("5.10.0-28", "v1.1.0"), ("10.0", "v2.0")] {
        let facts = Facts { kernel: kernel.into(), nft: Ok(format!("nftables {nft}")), ..good() };
        assert_eq!(judge(&facts).findings, [], "{kernel} {nft}");
    }
}

#[test]
fn switches_that_stop_packets_are_named_with_the_command() {
    let set = |name: &'static str, value: &'static str| {
        move |f: &mut Facts| drop(f.switches.insert(name.into(), value.into()))
    };
    is(&one(set("net/ipv4/ip_forward", "0")), "forwarding", Severity::Error, "sysctl -w net.ipv4.ip_forward=1");
    is(&one(set("net/ipv4/conf/eth1/forwarding", "0")), "forwarding", Severity::Error, "eth1");
    is(&one(set("net/ipv6/conf/all/forwarding", "0")), "forwarding", Severity::Note, "ipv6");
    is(&one(set("net/ipv4/conf/eth1/src_valid_mark", "0")), "sourceCheck", Severity::Error, "src_valid_mark");
    is(&one(set("net/netfilter/nf_conntrack_count", "950")), "conntrack", Severity::Warning, "950 of 1000");
    is(&one(set("net/netfilter/nf_conntrack_count", "1000")), "conntrack", Severity::Error, "nf_conntrack_max");
    let mut loose = good();
    set("net/ipv4/conf/eth1/src_valid_mark", "0")(&mut loose);
    set("net/ipv4/conf/eth1/rp_filter", "2")(&mut loose);
    assert_eq!(judge(&loose).findings, [], "the larger of the two counts");
}

#[test]
fn sizes_that_differ_are_worth_a_note() {
    is(&one(|f| f.devices = Ok([device("cni0", 1500), device("eth1", 1400)].into())), "mtu", Severity::Note, "1400");
    let with_tunnel = [device("eth0", 1500), device("eth1", 1500), device(TUNNEL_DEVICE, 1500)];
    is(&one(|f| f.devices = Ok(with_tunnel.into())), "mtu", Severity::Note, "fragments");
}

#[test]
fn rules_of_others_that_come_first_or_use_our_tables_are_named() {
    let rule = |priority, table, is_for_all| {
        move |f: &mut Facts| f.rules = Ok(vec![ForeignRule { family: Family::V6, priority, table, is_for_all }])
    };
    is(&one(rule(1000, 254, true)), "rules", Severity::Error, "ip -6 rule pref 1000");
    is(&one(rule(220, 220, true)), "rules", Severity::Warning, "never comes to our rules");
    is(&one(rule(5000, 10_007, false)), "rules", Severity::Warning, "--table-range");
    is(&one(rule(1300, 77, false)), "rules", Severity::Warning, "among ours");
    is(&one(|f| f.foreign_tables = Ok([10_001].into())), "tables", Severity::Warning, "10001");
}

#[test]
fn networkd_must_leave_foreign_rules_alone() {
    let found = one(|f| {
        f.networkd = Ok(Some(vec!["[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=yes\n".into()]))
    });
    is(&found, "networkd", Severity::Warning, "ManageForeignRoutingPolicyRules=no");
    let both =
        "[Network]\nManageForeignRoutes = No\n#ManageForeignRoutingPolicyRules=yes\nManageForeignRoutingPolicyRules=0";
    assert_eq!(judge(&Facts { networkd: Ok(Some(vec![both.into()])), ..good() }).findings, []);
    assert_eq!(judge(&Facts { networkd: Ok(Some(Vec::new())), ..good() }).findings.len(), 2);
}

fn set(key: &str, value: Value) -> Value {
    let target = json!({key: {"key": "mark"}});
    let rule =
        json!({"family": "ip", "table": "filter", "chain": "c", "expr": [{"mangle": {"key": target, "value": value}}]});
    json!({"nftables": [{"metainfo": {}}, {"rule": rule}]})
}

#[test]
fn a_mark_is_written_in_the_bits_that_may_differ_from_before() {
    let (packet, connection) = (json!({"meta": {"key": "mark"}}), json!({"ct": {"key": "mark"}}));
    for (value, taken) in [
        (json!(1), Some("0x7f")),
        (json!({"|": [packet, 0x4000]}), None),
        (json!({"|": [packet, 0x21]}), Some("0x21")),
        (json!({"|": [{"&": [packet, 0xffff_bfff_u32]}, 0x4000]}), None),
        (json!({"^": [{"&": [packet, 0xffff_fff0_u32]}, 0x1]}), Some("0xf")),
        (json!({"&": [packet, 0xffff_ffc0_u32]}), Some("0x3f")),
        (connection, Some("0x7f")),
        (json!({"map": {}}), Some("0x7f")),
    ] {
        let report = judge(&Facts { ruleset: Ok(set("meta", value.clone())), ..good() });
        let found = report.findings.first().map(|f| f.message.clone());
        match taken {
            None => assert_eq!(found, None, "{value}"),
            Some(bits) => assert!(
                found.as_ref().is_some_and(|m| m.contains(bits) && m.contains("ip filter c")),
                "{value}: {found:?}"
            ),
        }
    }
    is(&one(|f| f.ruleset = Ok(set("ct", json!(0x100)))), "marks", Severity::Warning, "--ct-mark");
    let mut ours = set("meta", json!(1));
    ours["nftables"][1]["rule"]["table"] = json!("sortie");
    assert!(by_nft(&ours).is_empty());
}

#[test]
fn targets_of_iptables_are_read_with_their_masks() {
    let saved = "*mangle\n:PREROUTING ACCEPT [0:0]\n\
        -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n\
        -A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000\n\
        -A PREROUTING -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80\n\
        -A ACCEPTED -j ACCEPT\n-A BARE -j\n-A x -m mark --mark 0x1 -j DROP\nCOMMIT\n";
    let facts = |text: &str| Facts { iptables: [("iptables-save".to_owned(), Ok(text.to_owned()))].into(), ..good() };
    assert_eq!(judge(&facts(saved)).findings, []);
    for (rule, word) in [
        ("-A VPN -j MARK --set-xmark 0x1/0xffffffff", "chain VPN (iptables-save, -j MARK) writes 0x7f"),
        ("-A VPN -j MARK --set-xmark 0x10/0x0", "writes 0x10"),
        ("-A VPN -j CONNMARK --restore-mark", "packet mark"),
        ("-A VPN -j CONNMARK --save-mark --nfmask 0xff00 --ctmask 0xff00", "connection mark"),
        ("-A VPN -j CONNMARK --set-xmark 0x1/0xffffffff", "connection mark"),
    ] {
        let report = judge(&facts(rule));
        assert!(report.findings.iter().any(|f| f.message.contains(word)), "{rule}: {report:?}");
    }
    assert!(by_iptables("x", "-A a -j MARK --set-xmark zebra").iter().all(|w| format!("{w:?}").contains("4294967295")));
}

#[test]
fn rules_of_iptables_that_nobody_lists_are_not_passed_over() {
    let ruleset =
        json!({"nftables": [{"rule": {"table": "filter", "expr": [{"xt": {"type": "target", "name": "MARK"}}]}}]});
    let facts = Facts {
        ruleset: Ok(ruleset),
        iptables: [("iptables-save".to_owned(), Err("not found".to_owned()))].into(),
        ..good()
    };
    assert!(judge(&facts).not_checked["marks"].contains("not found"));
}

#[test]
fn a_forward_chain_that_drops_the_tunnel_is_named_until_it_is_accepted() {
    let chain =
        json!({"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}});
    let rule = json!({"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "sor0"}}, {"accept": null}]}});
    let tunnel = [device("eth0", 9000), device("eth1", 9000), device(TUNNEL_DEVICE, 1500)];
    let facts = |objects: Vec<Value>| Facts {
        devices: Ok(tunnel.clone().into()),
        ruleset: Ok(json!({"nftables": objects})),
        ..good()
    };
    let report = judge(&facts(vec![chain.clone()]));
    is(&report.findings[0], "forward", Severity::Warning, "chain ip filter FORWARD");
    assert_eq!(judge(&facts(vec![chain, rule])).findings, []);
    let legacy = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n";
    let saved = |text: &str| Facts {
        iptables: [("iptables-save".to_owned(), Ok(text.to_owned()))].into(),
        ..facts(Vec::new())
    };
    is(&judge(&saved(legacy)).findings[0], "forward", Severity::Warning, "iptables-save");
    assert_eq!(judge(&saved(&format!("{legacy}-A FORWARD -i sor0 -j ACCEPT\n"))).findings, []);
    assert_eq!(judge(&Facts { devices: good().devices, ..saved(legacy) }).findings, [], "there is no tunnel");
}

#[test]
fn the_configuration_in_use_must_pass_pods_through_us() {
    let with = |plugins: &'static [&'static str]| move |f: &mut Facts| f.network = Ok(network(plugins));
    is(&one(with(&["bridge"])), "cni", Severity::Error, "no entry of type sortie");
    is(&one(with(&["sortie", "bridge"])), "cni", Severity::Error, "is the first plugin");
    is(&one(with(&["macvlan", "sortie"])), "cni", Severity::Error, "macvlan");
    is(&one(with(&["cilium-cni", "sortie"])), "cni", Severity::Note, "hostLegacyRouting");
    is(&one(with(&["multus", "sortie"])), "cni", Severity::Note, "first network");
    is(&one(|f| f.network = Ok(Files::new())), "cni", Severity::Warning, "no configuration");
    is(&one(|f| f.plugin = Ok(Plugin::Missing)), "cni", Severity::Error, "not there");
    is(&one(|f| f.plugin = Ok(Plugin::Other)), "cni", Severity::Warning, "install");
    let calico = [device("eth0", 1500), device("eth1", 1500), device("bpfin.cali", 1500)];
    is(&one(|f| f.devices = Ok(calico.into())), "cni", Severity::Warning, "linuxDataplane");
    let broken = |f: &mut Facts| drop(f.network.as_mut().unwrap().insert("00-broken.conflist".into(), b"{".to_vec()));
    let mut facts = good();
    broken(&mut facts);
    assert_eq!(judge(&facts).findings, [], "runtimes pass over it, too");
    let new =
        |f: &mut Facts| (f.is_loaded, f.helper, f.network) = (false, Err("no helper".into()), Ok(network(&["bridge"])));
    let mut fresh = good();
    new(&mut fresh);
    assert!(judge(&fresh).ok, "before the installation nothing is missing");
}

#[test]
fn the_helper_says_what_only_it_knows() {
    is(&one(|f| f.helper = Err("nobody answers".into())), "helper", Severity::Error, "stays as it is");
    let status = |change: fn(&mut Status)| move |f: &mut Facts| change(f.helper.as_mut().unwrap());
    is(&one(status(|s| s.not_ready = Some("no network".into()))), "helper", Severity::Error, "no network");
    is(&one(status(|s| s.unusable.push("route b 172.16.1.1".into()))), "helper", Severity::Warning, "172.16.1.1");
    is(&one(status(|s| s.unowned.push("core/sip".into()))), "helper", Severity::Warning, "core/sip");
    is(&one(|f| f.key = Ok(Err("open to other users".into()))), "peerKey", Severity::Error, "open to other users");
}

#[test]
fn the_worst_comes_first() {
    let mut facts = good();
    (facts.egress, facts.kernel) = (Err("x".into()), "4.4".into());
    facts.switches.insert("net/ipv6/conf/all/forwarding".into(), "0".into());
    let severities: Vec<Severity> = judge(&facts).findings.iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning, Severity::Note]);
}
