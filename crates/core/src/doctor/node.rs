//! Kernel, programs and switches.

use std::collections::BTreeSet;

use super::{Facts, Finding, Outcome, Severity, Status};
use crate::ids::TUNNEL_DEVICE;
use crate::model::{DeviceName, Family};

/// Oldest kernel whose `inet` tables translate addresses.
const KERNEL: (u64, u64) = (5, 2);
/// Oldest nft.
const NFT: [u64; 3] = [1, 0, 6];
/// Parts of a hundred of the table of connections from which it is worth a word.
const FULL: u64 = 90;
/// Bytes that the tunnel adds to a packet, over IPv6.
const OVERHEAD: u32 = 70;

pub(super) fn kernel(facts: &Facts) -> Outcome {
    let numbers = numbers(&facts.kernel);
    let [major, minor, ..] = numbers.as_slice() else {
        return Err(format!("{:?} is no version of Linux", facts.kernel));
    };
    if (*major, *minor) >= KERNEL {
        return Ok(Vec::new());
    }
    let about = ("its nftables cannot translate addresses in a table for both families", "use Linux 5.2 or newer");
    Ok(vec![Finding::new(Severity::Error, format!("Linux {} is too old", facts.kernel), about)])
}

pub(super) fn nft(facts: &Facts) -> Outcome {
    let about = ("the helper starts it to write the frame of its table", "install nftables 1.0.6 or newer");
    let text = match &facts.nft {
        Ok(text) => text,
        Err(why) => return Ok(vec![Finding::new(Severity::Error, format!("nft does not run: {why}"), about)]),
    };
    // `nftables v1.0.6 (Lester Gooch #5)`
    let version = text.split_whitespace().find_map(|word| word.strip_prefix('v')).map(numbers).unwrap_or_default();
    if version.is_empty() {
        return Err(format!("{text:?} names no version"));
    }
    if version.as_slice() >= NFT.as_slice() {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::new(Severity::Error, format!("{} is too old", text.trim()), about)])
}

/// The numbers a version starts with.
fn numbers(version: &str) -> Vec<u64> {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    version.split('.').map_while(|part| digits(part).parse().ok()).collect()
}

pub(super) fn table(facts: &Facts) -> Outcome {
    facts.nft.as_ref().map_err(|_| "nft does not run".to_owned())?;
    let about = (
        "the helper cannot load its table: selected pods do not start",
        "load or build what the message names (nf_tables, nft_ct, nft_fib_inet, nft_masq, nf_conntrack); the helper needs CAP_NET_ADMIN",
    );
    let found = facts
        .table
        .as_ref()
        .err()
        .map(|why| Finding::new(Severity::Error, format!("nft refuses a table of ours: {why}"), about));
    Ok(found.into_iter().collect())
}

pub(super) fn egress(facts: &Facts) -> Outcome {
    facts.nft.as_ref().map_err(|_| "nft does not run".to_owned())?;
    let about = (
        "nothing leaves by other nodes: a pod whose address or device is elsewhere is cut off",
        "use Linux 5.16 or newer with CONFIG_NETFILTER_EGRESS if packets are to leave by other nodes",
    );
    let found = facts.egress.as_ref().err().map(|why| Finding::new(Severity::Warning, why.clone(), about));
    Ok(found.into_iter().collect())
}

pub(super) fn forwarding(facts: &Facts) -> Outcome {
    let exits = facts.exits.clone().unwrap_or_default();
    let four = ("net/ipv4/ip_forward".to_owned(), Severity::Error);
    let uses_six = exits.iter().any(|(_, family)| *family == Family::V6);
    let six = ("net/ipv6/conf/all/forwarding".to_owned(), if uses_six { Severity::Error } else { Severity::Note });
    let of_device =
        |(device, _): &(DeviceName, Family)| (format!("net/ipv4/conf/{device}/forwarding"), Severity::Error);
    let devices: BTreeSet<_> = exits.iter().filter(|(_, family)| *family == Family::V4).map(of_device).collect();
    let off = |(name, _): &(String, Severity)| facts.switch(name) == Some(0);
    let told = |(name, severity): (String, Severity)| {
        let remedy = format!("sysctl -w {}=1, and in /etc/sysctl.d", name.replace('/', "."));
        let meaning = "the node does not forward packets of pods";
        Finding::new(severity, format!("{} is 0", name.replace('/', ".")), (meaning, &remedy))
    };
    if facts.switch("net/ipv4/ip_forward").is_none() {
        return Err("net.ipv4.ip_forward cannot be read".to_owned());
    }
    Ok([four, six].into_iter().chain(devices).filter(off).map(told).collect())
}

/// Answers come in by devices that the main table would not send by.
pub(super) fn source_check(facts: &Facts) -> Outcome {
    let exits = facts.exits.as_ref().map_err(Clone::clone)?;
    let devices: BTreeSet<&DeviceName> =
        exits.iter().filter(|(_, f)| *f == Family::V4).map(|(device, _)| device).collect();
    let most = |device: &DeviceName, switch: &str| {
        let of = |name: &str| facts.switch(&format!("net/ipv4/conf/{name}/{switch}")).unwrap_or(0);
        of("all").max(of(&device.0))
    };
    let drops = |device: &&DeviceName| {
        **device != DeviceName(TUNNEL_DEVICE.to_owned())
            && most(device, "rp_filter") == 1
            && most(device, "src_valid_mark") == 0
    };
    let told = |device: &DeviceName| {
        let message = format!("rp_filter of {device} is strict and its src_valid_mark is 0");
        let meaning = "answers to selected traffic that come in by it are dropped (nstat: TcpExtIPReversePathFilter)";
        let remedy = format!(
            "let the helper run, which sets net.ipv4.conf.{device}.src_valid_mark=1, and find out who sets it back"
        );
        Finding::new(Severity::Error, message, (meaning, &remedy))
    };
    Ok(devices.into_iter().filter(drops).map(told).collect())
}

pub(super) fn conntrack(facts: &Facts) -> Outcome {
    let (count, most) = ("net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max");
    let (Some(count), Some(most)) = (facts.switch(count), facts.switch(most)) else {
        return Err("connection tracking is not loaded yet, or its switches cannot be read".to_owned());
    };
    let meaning = "selected packets of new flows are dropped when the table is full (drop_untracked)";
    let remedy = "sysctl -w net.netfilter.nf_conntrack_max=N, with an N of twice the connections at the busiest time";
    let severity = if count >= most { Severity::Error } else { Severity::Warning };
    let found = (count.saturating_mul(100) >= most.saturating_mul(FULL))
        .then(|| Finding::new(severity, format!("{count} of {most} connections are tracked"), (meaning, remedy)));
    Ok(found.into_iter().collect())
}

pub(super) fn mtu(facts: &Facts) -> Outcome {
    let devices = facts.devices.as_ref().map_err(Clone::clone)?;
    let exits = facts.exits.as_ref().map_err(Clone::clone)?;
    let names: BTreeSet<&DeviceName> =
        exits.iter().map(|(device, _)| device).filter(|d| d.0 != TUNNEL_DEVICE).collect();
    let others = devices.iter().filter(|(name, d)| !names.contains(name) && name.0 != "lo" && d.up && d.mtu <= 9216);
    let largest = others.clone().map(|(_, device)| device.mtu).max().unwrap_or(0);
    let small =
        names.into_iter().filter_map(|name| Some((name, devices.get(name)?.mtu))).filter(|(_, mtu)| *mtu < largest);
    let of_exit = small.map(|(name, mtu)| {
        let message = format!("device {name} of a route takes {mtu} bytes, others of this node {largest}");
        let meaning = "larger packets that must not be fragmented are answered with an ICMP error; where those are filtered, connections hang";
        Finding::new(Severity::Note, message, (meaning, "give the devices one MTU, or set spec.mtu of the route and let ICMP pass"))
    });
    let tunnel = devices.get(&DeviceName(TUNNEL_DEVICE.to_owned())).map(|device| device.mtu);
    let inner = tunnel.filter(|mtu| largest < mtu + OVERHEAD).map(|mtu| {
        let message = format!("{TUNNEL_DEVICE} takes {mtu} bytes and no device of this node {}", mtu + OVERHEAD);
        let meaning = "large packets other than TCP to exits on other nodes are sent in two fragments";
        Finding::new(Severity::Note, message, (meaning, "raise the MTU between the nodes, or let fragments pass there"))
    });
    Ok(of_exit.chain(inner).collect())
}

pub(super) fn key(facts: &Facts) -> Outcome {
    let key = facts.key.as_ref().map_err(Clone::clone)?;
    let meaning = "the helper does not start with it, and without it owns no address that several nodes could own";
    let remedy = "the message says how to make or protect it; it must be the same on all nodes";
    Ok(key
        .as_ref()
        .err()
        .map(|why| Finding::new(Severity::Error, why.clone(), (meaning, remedy)))
        .into_iter()
        .collect())
}

pub(super) fn helper(facts: &Facts) -> Outcome {
    match &facts.helper {
        Err(why) if facts.is_loaded => {
            let meaning =
                "what is in the kernel stays as it is; pods that ask for a route do not start, and nothing is repaired";
            Ok(vec![Finding::new(
                Severity::Error,
                why.clone(),
                (meaning, "start it; its log says why it ended or waits"),
            )])
        }
        Err(why) => {
            let meaning = "nothing of Sortie works on this node yet";
            Ok(vec![Finding::new(
                Severity::Note,
                why.clone(),
                (meaning, "start it when the other findings are settled"),
            )])
        }
        Ok(status) => Ok(said(status)),
    }
}

fn said(status: &Status) -> Vec<Finding> {
    let waits = status.not_ready.as_ref().map(|why| {
        let meaning = "the kernel is not as it should be; pods that ask for a route do not start";
        Finding::new(
            Severity::Error,
            format!("the helper is not ready: {why}"),
            (meaning, "the message names what to do; see docs/troubleshooting.md"),
        )
    });
    let unusable = status.unusable.iter().map(|hop| {
        let meaning =
            "traffic of the route uses its other next hops, or is dropped or falls back as whenUnavailable says";
        Finding::new(
            Severity::Warning,
            format!("next hop is unusable: {hop}"),
            (meaning, "look at the device and at `ip neigh`; `sortie-helper explain` shows what a pod's packet does"),
        )
    });
    let unowned = status.unowned.iter().map(|service| {
        let meaning = "packets with its address are dropped";
        Finding::new(
            Severity::Warning,
            format!("nobody owns the address of Service {service}"),
            (meaning, "the condition Owned of `sortie-helper status` says why"),
        )
    });
    waits.into_iter().chain(unusable).chain(unowned).collect()
}
