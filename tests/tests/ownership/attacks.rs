//! Others on the same networks, who mean harm.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket};
use sortie_testkit::cluster::{Cluster, SERVER, manifests};
use sortie_testkit::{Capture, Captured, Flow, Namespace, probe, until};

use super::{AGREE, Scene, VIP, all, vip};

/// The helpers' port among each other.
const PEERS: u16 = 7343;
/// Messages of each kind of attack.
const MANY: usize = 50;

/// Whoever stands at the switch sends to a helper with the address of another node.
fn forger(switch: &Namespace, (from, to): (usize, usize)) -> Result<UdpSocket> {
    switch.ip("addr replace 10.10.0.99/24 dev lan")?;
    switch.nft(&format!(
        "table ip forger {{ chain out {{ type nat hook postrouting priority 100; \
           ip saddr 10.10.0.99 udp dport {PEERS} snat to 10.10.0.{from}; }}; }}"
    ))?;
    switch.with(|| {
        let socket = UdpSocket::bind(("10.10.0.99", PEERS)).context("cannot bind")?;
        socket.connect((format!("10.10.0.{to}"), PEERS)).context("cannot connect")?;
        Ok(socket)
    })
}

fn refused(cluster: &Cluster, number: usize, reason: &str) -> u64 {
    cluster.status(number).ok().and_then(|status| status["refused"][reason].as_u64()).unwrap_or(0)
}

#[test]
fn recorded_and_invented_messages_are_refused_and_change_nothing() -> Result<()> {
    let scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    scene.is_served(owner)?;
    let [from, victim] = scene.others(owner)[..] else { anyhow::bail!("three nodes") };
    let source: IpAddr = format!("10.10.0.{from}").parse()?;
    let target: IpAddr = format!("10.10.0.{victim}").parse()?;
    let said = |c: &Captured| {
        c.is_incoming
            && c.device == format!("n{from}l")
            && (c.packet.source, c.packet.destination) == (source, target)
            && (c.packet.protocol, c.packet.destination_port) == (sortie_testkit::packet::UDP, PEERS)
    };
    // One that did not arrive when it was sent is no replay.
    scene.capture.clear()?;
    until(AGREE, "messages to record", || scene.capture.count(said).is_ok_and(|count| count >= MANY))?;
    let recorded: Vec<_> = scene.capture.packets()?.into_iter().filter(|c| said(c)).take(MANY).collect();
    let forger = forger(&scene.cluster.switch, (from, victim))?;
    for message in &recorded {
        forger.send(&message.packet.payload).context("cannot send again")?;
    }
    for (number, message) in recorded.iter().enumerate() {
        let mut changed = message.packet.payload.clone();
        let place = 22 + number % changed.len().saturating_sub(22).max(1);
        changed[place] ^= 1;
        forger.send(&changed).context("cannot send what was changed")?;
        forger.send(&vec![u8::try_from(number).unwrap_or(0); number * 20]).context("cannot send rubbish")?;
    }
    for (reason, least) in [("replayed", MANY as u64), ("forged", MANY as u64 / 2), ("malformed", 1)] {
        until(AGREE, reason, || refused(&scene.cluster, victim, reason) >= least)
            .with_context(|| format!("{:?}", scene.cluster.status(victim).map(|status| status["refused"].clone())))?;
    }
    ensure!(scene.cluster.await_owner(&all(3), AGREE)? == owner, "the owner changed");
    scene.is_served(owner)?;
    scene.nobody_overlaps()
}

#[test]
fn a_helper_with_another_key_takes_no_part() -> Result<()> {
    let mut cluster = Cluster::new(3)?;
    cluster.manifest("all.yaml", &manifests(3))?;
    for number in [1, 2] {
        cluster.start(number)?;
    }
    let owner = cluster.await_owner(&[1, 2], AGREE)?;
    let capture = Capture::start(&cluster.switch)?;
    cluster.key(&[9; 32])?;
    cluster.start(3)?;
    for number in [1, 2] {
        until(AGREE, "forged messages to be counted", || refused(&cluster, number, "forged") > 20)?;
    }
    let flow = Flow::udp(5060, SERVER.into());
    ensure!(probe(&cluster.nodes[2].pod, flow, std::time::Duration::from_millis(500))?.is_none(), "n3 was answered");
    ensure!(cluster.await_owner(&[1, 2], AGREE)? == owner, "the owner changed");
    let own = |c: &Captured| c.device == "n3o" && c.is_incoming && c.packet.source == vip();
    assert_eq!(capture.count(own)?, 0, "n3 sent with the address");
    Ok(())
}

/// An ARP reply to everybody: `mac` has the address.
fn claim_by_arp(station: &Namespace, device: &str, mac: [u8; 6]) -> Result<()> {
    let IpAddr::V4(address) = vip() else { anyhow::bail!("an address of ARP") };
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0xff; 6]);
    frame.extend(address.octets());
    station.with(|| {
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
            .context("no packet socket")?;
        let links = nix::ifaddrs::getifaddrs().context("no devices")?;
        let mut links = links.filter(|link| link.interface_name == device).filter_map(|link| link.address);
        let place = links.find_map(|address| address.as_link_addr().copied()).context("no such device")?;
        sendto(fd.as_raw_fd(), &frame, &place, MsgFlags::empty()).context("cannot send").map(drop)
    })
}

fn believed(router: &Namespace) -> Result<Option<String>> {
    let shown = router.run("ip", &["-j", "neigh", "show", VIP, "dev", "node"])?;
    let entries: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
    Ok(entries[0]["lladdr"].as_str().map(str::to_owned))
}

#[test]
fn a_router_that_believed_a_stranger_finds_the_owner_again() -> Result<()> {
    let scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    for number in all(3) {
        scene.is_served(number)?;
    }
    let router = &scene.cluster.router;
    router.sysctl("net/ipv4/conf/node/arp_accept", "1")?;
    let right = believed(router)?.context("the router does not know the address")?;
    let stranger = [2, 0, 0, 0, 0, 0x66];
    claim_by_arp(&scene.cluster.switch, "out", stranger)?;
    let is_fooled = || believed(router).is_ok_and(|mac| mac.as_deref() == Some("02:00:00:00:00:66"));
    let fooled = until(std::time::Duration::from_millis(500), "the router to be fooled", is_fooled).is_ok();
    let begun = std::time::Instant::now();
    let is_right = || believed(router).is_ok_and(|mac| mac.as_deref() == Some(&right));
    until(AGREE, "the router to find the owner again", is_right).with_context(|| scene.cluster.logs())?;
    eprintln!("a stranger's announcement: fooled={fooled}, for {:?}", begun.elapsed());
    for number in all(3) {
        scene.is_served(number)?;
    }
    ensure!(scene.cluster.await_owner(&all(3), AGREE)? == owner, "the owner changed");
    Ok(())
}

#[test]
fn a_service_of_another_namespace_does_not_lend_its_address() -> Result<()> {
    let scene = Scene::new(3)?;
    scene.cluster.await_owner(&all(3), AGREE)?;
    let all_of_it = manifests(3);
    let service = all_of_it.rsplit("---\n").next().context("a Service")?;
    let foreign = service.replace("name: sip, namespace: default", "name: early, namespace: tenant");
    let foreign = foreign.replace("172.16.1.200,fd00:16::200", "172.16.1.201,fd00:16::201");
    scene.cluster.manifest("tenant.yaml", &foreign)?;
    let given = |number: &usize| {
        scene.cluster.status(*number).is_ok_and(|status| {
            let list = status["addresses"].as_array().cloned().unwrap_or_default();
            list.iter().any(|entry| entry["service"] == "tenant/early" && entry["owner"].is_string())
        })
    };
    until(AGREE, "the other Service to be owned", || all(3).iter().all(given)).with_context(|| scene.cluster.logs())?;
    for number in all(3) {
        scene.is_served(number)?;
    }
    scene.nobody_overlaps()
}
