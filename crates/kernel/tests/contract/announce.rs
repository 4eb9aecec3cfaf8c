//! Virtual addresses against the kernel of a peer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::MsgFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, send, socket};
use serde_json::Value;
use sortie_core::model::DeviceName;
use sortie_kernel::announce::arp::{Arp, Station};
use sortie_kernel::announce::ndp::Discovery;
use sortie_kernel::announce::{Announcer, Answers, Mac, ProbeOutcome, Prober, Responder, Via};
use sortie_kernel::{KernelError, netns};

use tokio::task::JoinSet;

use crate::probes::FarEnd;
use crate::suite::device;
use crate::support::{attempt, in_namespace, json, nft, run};

const VIPS: [&str; 2] = ["198.51.100.77", "2001:db8:5::77"];
const OTHERS: [&str; 2] = ["198.51.100.78", "2001:db8:5::1:78"];
const NEXT_HOPS: [&str; 2] = ["198.51.100.2", "2001:db8:5::2"];

fn addresses(texts: [&str; 2]) -> BTreeSet<IpAddr> {
    texts.map(|text| text.parse().unwrap()).into()
}

/// All that is to be done for it.
fn set(responder: &Responder, wanted: BTreeMap<DeviceName, BTreeSet<IpAddr>>) -> Vec<KernelError> {
    let _ = responder.set(wanted);
    responder.refresh()
}

fn named((name, addresses): (&str, BTreeSet<IpAddr>)) -> (DeviceName, BTreeSet<IpAddr>) {
    (device(name), addresses)
}

fn on(device_name: &str, addresses: BTreeSet<IpAddr>) -> BTreeMap<DeviceName, BTreeSet<IpAddr>> {
    [(device(device_name), addresses)].into()
}

/// Polls while the runtime goes on; the deadline is generous because the machine may be busy.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        tokio::task::yield_now().await;
    }
    start.elapsed()
}

fn mac(ip: &str, device: &str) -> String {
    json(&format!("{ip} -j link show dev {device}"))[0]["address"].as_str().unwrap().to_owned()
}

impl FarEnd {
    fn mac(&self) -> String {
        mac(&format!("ip -n {}", self.name), "e")
    }

    /// What the peer's kernel knows of an address.
    fn entry(&self, address: &str) -> Value {
        json(&format!("ip -n {} -j neigh show to {address} dev e", self.name))[0].clone()
    }

    fn link_address(&self, address: &str) -> Option<String> {
        self.entry(address)["lladdr"].as_str().map(str::to_owned)
    }

    fn has_failed(&self, address: &str) -> bool {
        self.entry(address)["state"][0] == "FAILED"
    }

    /// Makes the peer's kernel resolve an address, not knowing anything of it.
    fn forget_and_resolve(&self, address: &str) {
        attempt(&format!("ip -n {} neigh del {address} dev e", self.name));
        self.set(&format!("neigh replace {address} dev e nud none use"));
    }

    async fn resolves_to(&self, address: &str, mac: &str) -> Duration {
        self.forget_and_resolve(address);
        until(&format!("{address} is {mac}"), async || self.link_address(address).as_deref() == Some(mac)).await
    }

    async fn does_not_resolve(&self, addresses: [&str; 2]) {
        for address in addresses {
            self.forget_and_resolve(address);
        }
        for address in addresses {
            until(&format!("{address} has failed"), async || self.has_failed(address)).await;
        }
    }
}

#[test]
fn a_peer_resolves_a_virtual_address_to_our_device() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let responder = Responder::new();
        assert!(set(&responder, on("w", addresses(VIPS))).is_empty());
        let link = &json("ip -j -d link show dev w")[0];
        assert_eq!((&link["promiscuity"], &link["allmulti"]), (&Value::from(0), &Value::from(0)));
        for vip in VIPS {
            println!("{vip} resolved in {:?}", far.resolves_to(vip, &mac("ip", "w")).await);
        }
        assert!(responder.answers().arp >= 1 && responder.answers().ndp >= 1, "{:?}", responder.answers());
        assert!(!run("ip addr show").contains("198.51.100.77"));
        let groups = run("ip maddr show dev w");
        assert!(groups.contains("ff02::1:ff00:77") && groups.contains("33:33:ff:00:00:77"), "{groups}");
        assert!(set(&responder, BTreeMap::new()).is_empty());
        let groups = run("ip maddr show dev w");
        assert!(!groups.contains("ff02::1:ff00:77") && !groups.contains("33:33:ff:00:00:77"), "{groups}");
    });
}

#[test]
fn a_device_that_stands_ready_answers_for_nothing_yet() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let responder = Responder::new();
        assert!(set(&responder, on("w", BTreeSet::new())).is_empty());
        far.does_not_resolve(VIPS).await;
        assert_eq!(responder.answers(), Answers::default());
        assert!(!responder.set([("w", addresses(VIPS)), ("e", addresses(OTHERS))].map(named).into()), "e is not ready");
        assert!(responder.set(on("w", addresses(VIPS))), "without another look at the devices");
        far.resolves_to(VIPS[0], &mac("ip", "w")).await;
        assert!(set(&responder, on("w", BTreeSet::new())).is_empty());
        far.does_not_resolve(VIPS).await;
    });
}

#[test]
fn a_router_with_strict_source_checks_answers_questions_to_itself_too() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter"] {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
        // What the kernel would forward is dropped after packet sockets have seen it.
        let forwarded = format!("icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} ip6 daddr {}", VIPS[1]);
        nft(&format!(
            "table ip6 t {{ chain c {{ type filter hook prerouting priority raw; {forwarded} counter drop; }}; }}"
        ));
        let responder = Responder::new();
        assert!(set(&responder, on("w", addresses(VIPS))).is_empty());
        let own = mac("ip", "w");
        for vip in VIPS {
            // A peer that knows us asks only us (RFC 4861 section 7.3.3, RFC 1122 section 2.3.2.1).
            far.set(&format!("neigh replace {vip} dev e lladdr {own} nud probe"));
            until("confirmed", async || far.entry(vip)["state"][0] == "REACHABLE").await;
        }
        assert!(
            run("ip neigh show dev w").lines().all(|entry| !entry.contains(VIPS[1])),
            "the kernel asks for it itself"
        );
        assert!(!run("nft list table ip6 t").contains("packets 0 "));
        assert!(responder.answers().arp >= 1 && responder.answers().ndp >= 1, "{:?}", responder.answers());
    });
}

#[test]
fn foreign_addresses_and_those_taken_away_are_not_answered() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let responder = Responder::new();
        assert!(set(&responder, on("w", addresses(VIPS))).is_empty());
        far.does_not_resolve(OTHERS).await;
        for vip in VIPS {
            far.resolves_to(vip, &mac("ip", "w")).await;
        }
        assert!(set(&responder, on("w", addresses(OTHERS))).is_empty());
        let before = responder.answers();
        far.does_not_resolve(VIPS).await;
        assert_eq!(responder.answers(), before);
        for other in OTHERS {
            far.resolves_to(other, &mac("ip", "w")).await;
        }
        drop(responder);
        far.does_not_resolve(OTHERS).await;
    });
}

#[test]
fn an_announcement_moves_the_entry_of_a_peer_and_its_answer_verifies_it() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let responder = Responder::new();
        let announcer = Announcer::start(&responder);
        for vip in VIPS {
            far.set(&format!("neigh replace {vip} dev e lladdr 02:00:00:00:00:99 nud reachable"));
        }
        assert!(set(&responder, on("w", addresses(VIPS))).is_empty());
        let via = |hop: &str| Via { device: device("w"), next_hop: Some(hop.parse().unwrap()) };
        let places = [(VIPS[0], NEXT_HOPS[0]), (VIPS[1], NEXT_HOPS[1])];
        let start = Instant::now();
        announcer.set(places.map(|(vip, hop)| (vip.parse().unwrap(), via(hop))).into());
        let own = mac("ip", "w");
        for vip in VIPS {
            until("the entry moves", async || far.link_address(vip).as_ref() == Some(&own)).await;
        }
        println!("moved within {:?}", start.elapsed());
        for vip in VIPS {
            let address = vip.parse().unwrap();
            until("the next hop answers us", async || announcer.verified(address) == Some(true)).await;
        }
        announcer.set([(VIPS[0].parse().unwrap(), via("198.51.100.99"))].into());
        until("a silent next hop", async || announcer.verified(VIPS[0].parse().unwrap()) == Some(false)).await;
        assert_eq!(announcer.verified(VIPS[1].parse().unwrap()), None);
    });
}

#[test]
fn a_peer_cannot_give_itself_an_owned_address() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let responder = Responder::new();
        assert!(set(&responder, on("w", addresses(VIPS))).is_empty());
        far.set(&format!("addr add {}/64 dev e", VIPS[1]));
        let shown = || run(&format!("ip -n {} -6 addr show dev e", far.name));
        until("detection of the duplicate", async || shown().contains("dadfailed")).await;
    });
}

#[test]
fn a_probe_finds_who_has_an_address() {
    in_namespace(async |_| {
        let (far, prober) = (FarEnd::new(), Prober::default());
        let w = device("w");
        for hop in NEXT_HOPS {
            let outcome = prober.probe(&w, hop.parse().unwrap(), Duration::from_secs(10)).await.unwrap();
            let ProbeOutcome::Answered(theirs) = outcome else { panic!("{hop} does not answer") };
            assert_eq!(theirs.to_string(), far.mac());
        }
        for vip in VIPS {
            let start = Instant::now();
            let outcome = prober.probe(&w, vip.parse().unwrap(), Duration::from_millis(300)).await.unwrap();
            assert_eq!(outcome, ProbeOutcome::Nobody);
            assert!(start.elapsed() >= Duration::from_millis(300));
            assert_eq!(far.link_address(vip), None);
        }
        for odd in ["gone", "lo"] {
            let error = prober.probe(&device(odd), VIPS[0].parse().unwrap(), Duration::from_secs(1)).await.unwrap_err();
            assert!(error.to_string().contains(odd), "{error}");
        }
    });
}

#[test]
fn devices_go_and_come_back() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let responder = Responder::new();
        assert!(set(&responder, on("w", addresses(VIPS))).is_empty());
        run("ip link set dev w down");
        assert!(responder.refresh().is_empty());
        run("ip link set dev w up");
        for vip in VIPS {
            far.resolves_to(vip, &mac("ip", "w")).await;
        }
        run("ip link set dev w address 02:00:00:00:00:55");
        assert!(responder.refresh().is_empty());
        for vip in VIPS {
            far.resolves_to(vip, "02:00:00:00:00:55").await;
        }
        run("ip link del dev w");
        let errors = responder.refresh();
        assert!(errors.len() == 1 && errors[0].to_string().contains('w'), "{errors:?}");
        far.connect();
        assert!(responder.refresh().is_empty());
        for vip in VIPS {
            far.resolves_to(vip, &mac("ip", "w")).await;
        }
        run("ip link set dev w down");
        run("ip link set dev w name w2");
        run("ip link set dev w2 up");
        assert_eq!(responder.refresh().len(), 1);
        assert!(set(&responder, on("w2", addresses(VIPS))).is_empty());
        for vip in VIPS {
            far.resolves_to(vip, &mac("ip", "w2")).await;
        }
    });
}

/// Half of them IPv4, in networks that the peer takes for its own.
fn four_thousand() -> BTreeSet<IpAddr> {
    let v4 = (0..2000).map(|number| IpAddr::V4(Ipv4Addr::from(0x0a09_0000 + number)));
    let prefix = u128::from("2001:db8:9::".parse::<Ipv6Addr>().unwrap());
    v4.chain((0..2000).map(|number| IpAddr::V6(Ipv6Addr::from(prefix + number)))).collect()
}

#[test]
fn four_thousand_addresses_are_answered_for_and_announced_without_loss() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        far.set("route add 10.9.0.0/16 dev e");
        far.set("route add 2001:db8:9::/64 dev e");
        let responder = Responder::new();
        let announcer = Announcer::start(&responder);
        let start = Instant::now();
        assert!(set(&responder, on("w", four_thousand())).is_empty());
        println!("4000 addresses set in {:?}", start.elapsed());
        for address in ["10.9.0.0", "10.9.7.207", "2001:db8:9::", "2001:db8:9::7cf"] {
            println!("{address} resolved in {:?}", far.resolves_to(address, &mac("ip", "w")).await);
        }
        assert!(run("ip maddr show dev w").matches("inet6 ff02::1:ff").count() >= 2000);
        let received = || {
            let link = &json(&format!("ip -n {} -s -j link show dev e", far.name))[0];
            link["stats64"]["rx"]["packets"].as_u64().unwrap()
        };
        let (start, before) = (Instant::now(), received());
        let via = Via { device: device("w"), next_hop: None };
        announcer.set(four_thousand().into_iter().map(|address| (address, via.clone())).collect());
        until("one round is sent", async || announcer.frames() >= 6000).await;
        let took = start.elapsed();
        assert!(received() - before >= 6000, "{} of 6000 frames arrived", received() - before);
        assert!(took >= Duration::from_millis(2900), "a burst: {took:?}");
        println!("6000 frames sent in {took:?}");
        let start = Instant::now();
        assert!(set(&responder, BTreeMap::new()).is_empty());
        println!("4000 addresses taken away in {:?}", start.elapsed());
    });
}

#[test]
fn malformed_frames_do_no_harm() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let responder = Responder::new();
        assert!(set(&responder, on("w", addresses(VIPS))).is_empty());
        let (path, peer) = (format!("/var/run/netns/{}", far.name), Mac([2, 0, 0, 0, 0, 0x66]));
        let sent = tokio::task::spawn_blocking(move || {
            netns::enter(Path::new(&path)).unwrap();
            throw_rubbish(peer)
        });
        println!("{} frames of rubbish", sent.await.unwrap());
        for vip in VIPS {
            far.resolves_to(vip, &mac("ip", "w")).await;
        }
    });
}

/// Every shorter form of a question and every form with one byte changed.
fn throw_rubbish(peer: Mac) -> usize {
    let place = nix::ifaddrs::getifaddrs().unwrap().find(|found| found.interface_name == "e").unwrap();
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
    bind(socket.as_raw_fd(), place.address.unwrap().as_link_addr().unwrap()).unwrap();
    let arp = Arp::question(Station { mac: peer, address: Ipv4Addr::new(198, 51, 100, 66) }, VIPS[0].parse().unwrap());
    let discovery = Discovery::question(peer, NEXT_HOPS[1].parse().unwrap(), VIPS[1].parse().unwrap());
    let mut sent = 0;
    for frame in [arp.frame(), discovery.frame()] {
        let shorter = (14..frame.len()).map(|length| frame[..length].to_vec());
        let changed = (12..frame.len()).flat_map(|place| [0, 1, 0x80, 0xff].map(|value| (place, value)));
        let changed = changed.map(|(place, value)| {
            let mut odd = frame.clone();
            odd[place] = value;
            odd
        });
        for odd in shorter.chain(changed) {
            sent += usize::from(send(socket.as_raw_fd(), &odd, MsgFlags::empty()).is_ok());
        }
    }
    sent
}

#[test]
fn any_number_of_probes_share_a_device() {
    in_namespace(async |_| {
        let _far = FarEnd::new();
        let (w, prober) = (device("w"), Arc::new(Prober::default()));
        let hop: IpAddr = NEXT_HOPS[0].parse().unwrap();
        let nobody = (0..1000_u32).map(|i| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + i)));
        let wanted: Vec<IpAddr> = nobody.chain([hop]).collect();
        let mut probes = JoinSet::new();
        for address in wanted {
            let (prober, w) = (Arc::clone(&prober), w.clone());
            probes.spawn(async move { (address, prober.probe(&w, address, Duration::from_secs(2)).await.unwrap()) });
        }
        let answered = |(address, outcome)| matches!(outcome, ProbeOutcome::Answered(_)).then_some(address);
        let answered: Vec<IpAddr> = probes.join_all().await.into_iter().filter_map(answered).collect();
        assert_eq!(answered, [hop]);
    });
}
