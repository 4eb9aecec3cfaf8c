//! What one would use instead, one entry for each pod.

use std::fmt::Write as _;

use anyhow::Result;
use sortie_testkit::{Namespace, command};
use std::process::Command;

use super::pods;
use super::site::{POD_NET, Site};

/// Table of the second way out.
const TABLE: &str = "route add default via 172.16.1.1 dev eth1 table 100\n";
/// Source of selected flows: the device's own.
const SOURCE: &str = "172.16.1.11";

/// One routing rule for each pod, nothing else: the masquerade that is there gives the source.
///
/// # Errors
/// When `ip` fails.
pub(super) fn routing_rules(site: &Site, count: usize) -> Result<()> {
    let mut lines = TABLE.to_owned();
    for address in pods::addresses(count) {
        let _ = writeln!(lines, "rule add pref 1400 from {address} lookup 100");
    }
    site.node.ip(&lines)
}

/// A mark and a translation for each pod by iptables, as kube-vip writes them, and one routing rule for the mark.
///
/// # Errors
/// When a program fails.
pub(super) fn iptables(site: &Site, count: usize) -> Result<()> {
    site.node.ip(&format!("{TABLE}rule add pref 1400 fwmark 0x40/0x40 lookup 100"))?;
    // Answers bear no mark.
    site.node.sysctl("net/ipv4/conf/eth1/rp_filter", "2")?;
    let comment = "-m comment --comment a3ViZS12aXAK=kube-vip";
    let (mut marks, mut sources) = (String::new(), String::new());
    for address in pods::addresses(count) {
        let _ = writeln!(marks, "-A KUBE-VIP-EGRESS -s {address}/32 {comment} -j MARK --set-xmark 0x40/0x40");
        let _ = writeln!(
            sources,
            "-A POSTROUTING -s {address}/32 -m mark --mark 0x40/0x40 {comment} -j SNAT --to-source {SOURCE}"
        );
    }
    restore(
        &site.node,
        &format!(
            "*mangle\n:KUBE-VIP-EGRESS - [0:0]\n-A PREROUTING {comment} -j KUBE-VIP-EGRESS\n\
             -A KUBE-VIP-EGRESS -d {POD_NET} {comment} -j RETURN\n-A KUBE-VIP-EGRESS -d 10.96.0.0/12 {comment} -j RETURN\n\
             {marks}COMMIT\n*nat\n{sources}COMMIT\n"
        ),
    )
}

/// The cluster's masquerade for what leaves it. It comes after what an alternative wants of the source.
///
/// # Errors
/// When iptables fails.
pub(super) fn masquerade(node: &Namespace) -> Result<()> {
    restore(node, &format!("*nat\n-A POSTROUTING -s {POD_NET} ! -d {POD_NET} -j MASQUERADE --random-fully\nCOMMIT\n"))
}

/// Adds rules that `iptables-save` could have printed.
///
/// # Errors
/// When iptables refuses them.
pub(super) fn restore(node: &Namespace, rules: &str) -> Result<()> {
    node.with(|| command::text(Command::new("iptables-restore").arg("--noflush"), rules)).map(drop)
}
