//! The tunnel as `ip`, `bridge` and `nft` see it, and the frames in it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sortie_core::ids::{Numbers, TUNNEL_DEVICE};
use sortie_core::state::{Mac, NftChange, Step, TableFamily, Tunnel};
use sortie_core::world::Device;
use sortie_kernel::{Event, Events, Linux, Platform, netns};
use tokio::time::timeout;

use crate::probes::FarEnd;
use crate::suite::device;
use crate::suite::tunnel::{frames, mac, routes_in, tunnel};
use crate::support::{in_namespace, json as read, run};

fn link() -> Value {
    read("ip -d -j link show dev sor0")[0].clone()
}

fn index() -> Value {
    link()["ifindex"].clone()
}

/// Link address and far end of every forwarding entry.
fn forwarding() -> Vec<(String, String)> {
    let shown = read("bridge -j fdb show dev sor0");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut entries: Vec<_> =
        shown.as_array().unwrap().iter().map(|entry| (text(&entry["mac"]), text(&entry["dst"]))).collect();
    entries.sort();
    entries
}

/// Address, link address and state of every neighbour.
fn neighbours() -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for family in ["-4", "-6"] {
        let shown = read(&format!("ip {family} -j neigh show dev sor0"));
        all.extend(shown.as_array().unwrap().iter().map(|n| json!([n["dst"], n["lladdr"], n["state"]])));
    }
    all
}

async fn ensure(linux: &mut Linux, tunnel: &Tunnel) {
    linux.apply(&Step::EnsureTunnel(tunnel.clone())).await.unwrap();
}

#[test]
fn the_device_is_what_was_asked_for() {
    in_namespace(async |node| {
        ensure(&mut node.linux(), &tunnel([2, 3])).await;
        let shown = link();
        let data = &shown["linkinfo"]["info_data"];
        assert_eq!(shown["linkinfo"]["info_kind"], "vxlan");
        assert_eq!((&shown["address"], &shown["mtu"]), (&json!("02:53:4f:52:00:01"), &json!(1500)));
        assert_eq!((&data["id"], &data["port"], &data["local"]), (&json!(7342), &json!(4797), &json!("192.0.2.1")));
        assert_eq!((&data["learning"], &data["link"]), (&json!(false), &Value::Null));
        assert_eq!(shown["inet6_addr_gen_mode"], "none");
        assert!(shown["flags"].as_array().unwrap().contains(&json!("UP")));
        assert_eq!(run("sysctl -n net/ipv6/conf/sor0/accept_ra"), "0\n");
        assert_eq!(read("ip -j addr show dev sor0")[0]["addr_info"], json!([]));
        let entry = |node: u8| (mac(node).to_string(), format!("192.0.2.{node}"));
        assert_eq!(forwarding(), [entry(2), entry(3)]);
        let neighbour = |gateway: &str| json!([gateway, "02:53:00:00:00:00", ["PERMANENT"]]);
        assert_eq!(neighbours(), [neighbour("169.254.73.254"), neighbour("fe80::73:fe")]);
    });
}

#[test]
fn a_change_of_peers_keeps_the_device() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        ensure(&mut linux, &tunnel([2, 3])).await;
        let before = index();
        for wanted in [tunnel([3, 4]), tunnel([]), tunnel([2])] {
            ensure(&mut linux, &wanted).await;
            assert_eq!(index(), before);
            assert_eq!(forwarding().len(), wanted.peers.len());
        }
        let numbers = Numbers { vni: 77, tunnel_port: 5000, ..Numbers::default() };
        let mut other = Linux::open(numbers, node.saved()).unwrap();
        assert_ne!(other.observe().await.unwrap().tunnel, Some(tunnel([2])), "of another number");
        ensure(&mut other, &tunnel([2])).await;
        assert_ne!(index(), before);
        let data = link()["linkinfo"]["info_data"].clone();
        assert_eq!((&data["id"], &data["port"]), (&json!(77), &json!(5000)));
    });
}

#[test]
fn what_others_did_to_the_tunnel_is_seen_and_mended() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        // Whether the device stays the same one.
        for (line, stays) in [
            ("ip link set dev sor0 down", true),
            ("ip neigh del 169.254.73.254 dev sor0", true),
            ("ip neigh replace fe80::73:fe lladdr 02:53:00:00:00:01 dev sor0 nud permanent", true),
            ("ip neigh replace 169.254.73.254 lladdr 02:53:00:00:00:00 dev sor0 nud stale", true),
            ("bridge fdb flush dev sor0", true),
            ("bridge fdb del 02:53:4f:52:00:02 dev sor0", true),
            ("bridge fdb replace 02:53:4f:52:00:02 dev sor0 dst 192.0.2.9 self permanent", true),
            ("bridge fdb replace 02:53:4f:52:00:02 dev sor0 dst 192.0.2.2 self static", true),
            ("bridge fdb replace 02:53:4f:52:00:02 dev sor0 dst 192.0.2.2 port 9 self permanent", true),
            ("bridge fdb add 02:53:4f:52:00:09 dev sor0 dst 192.0.2.9 self permanent", true),
            ("bridge fdb append 00:00:00:00:00:00 dev sor0 dst 192.0.2.9 self permanent", true),
            ("ip link set dev sor0 mtu 1400", false),
            ("ip link set dev sor0 address 02:53:4f:52:00:09", false),
            ("ip link set dev sor0 type vxlan learning", false),
        ] {
            ensure(&mut linux, &tunnel([2, 3])).await;
            assert_eq!(linux.observe().await.unwrap().tunnel, Some(tunnel([2, 3])));
            let before = index();
            run(line);
            let seen = linux.observe().await.unwrap().tunnel;
            assert!(seen.is_some() && seen != Some(tunnel([2, 3])), "{line}: {seen:?}");
            ensure(&mut linux, &tunnel([2, 3])).await;
            assert_eq!(linux.observe().await.unwrap().tunnel, Some(tunnel([2, 3])), "{line}");
            assert_eq!((index() == before, forwarding().len(), neighbours().len()), (stays, 2, 2), "{line}");
        }
        run("ip link set dev sor0 down");
        linux.apply(&Step::RemoveTunnel).await.unwrap();
        assert_eq!(read("ip -j -d link show type vxlan"), json!([]), "a device that is down is removed, too");
    });
}

#[test]
fn a_device_that_was_deleted_is_absent_and_made_anew() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        let whole = frames(mac(2), mac(7));
        ensure(&mut linux, &tunnel([2])).await;
        linux.apply(&Step::EnableSrcValidMark(device(TUNNEL_DEVICE))).await.unwrap();
        linux.apply(&Step::Nft(NftChange::Replace(whole.clone()))).await.unwrap();
        for _ in 0..2 {
            run("ip link del dev sor0");
            let seen = linux.observe().await.unwrap();
            assert_eq!((seen.tunnel, seen.src_valid_mark.len()), (None, 0));
            // Kernels before 6.16 delete the chain with the device.
            let chains = seen.frames.unwrap().chains.len();
            let shown = run("nft list table netdev sortie");
            assert_eq!(chains, shown.matches("chain out").count(), "{shown}");
            ensure(&mut linux, &tunnel([2])).await;
            linux.apply(&Step::EnableSrcValidMark(device(TUNNEL_DEVICE))).await.unwrap();
            linux.apply(&Step::Nft(NftChange::Replace(whole.clone()))).await.unwrap();
            let seen = linux.observe().await.unwrap();
            assert_eq!((seen.tunnel, seen.frames), (Some(tunnel([2])), Some(whole.clone())));
            assert_eq!(seen.src_valid_mark.len(), 1);
        }
        linux.apply(&Step::RestoreSrcValidMark(device(TUNNEL_DEVICE))).await.unwrap();
        assert_eq!(std::fs::read_to_string(node.saved()).unwrap(), "{}");
    });
}

/// A device of our name that is no VXLAN stays as it is.
async fn refuses_the_name(platform: &mut impl Platform) {
    assert_eq!(platform.observe().await.unwrap().tunnel, None);
    let error = platform.apply(&Step::EnsureTunnel(tunnel([2]))).await.unwrap_err();
    assert!(error.to_string().contains("sor0"), "{error}");
    platform.apply(&Step::RemoveTunnel).await.unwrap();
    assert!(platform.facts().await.unwrap().devices.contains_key(&device(TUNNEL_DEVICE)));
}

#[test]
fn a_device_of_somebody_else_is_not_touched() {
    in_namespace(async |node| {
        run("ip link add name sor0 type veth peer name sor0-far");
        let before = link();
        refuses_the_name(&mut node.linux()).await;
        assert_eq!(link(), before);
        let error = node.linux().apply(&Step::EnsureTunnel(tunnel([2]))).await.unwrap_err().to_string();
        assert!(error.contains("ip link delete dev sor0"), "{error}");
        let mut fake = crate::fake();
        let foreign = Device { index: 9, up: true, mtu: 1500, addresses: Vec::new() };
        fake.facts.devices.insert(device(TUNNEL_DEVICE), foreign);
        refuses_the_name(&mut fake).await;
    });
}

#[test]
fn elements_of_frames_are_shown_as_they_are() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        ensure(&mut linux, &tunnel([2])).await;
        linux.apply(&Step::Nft(NftChange::Replace(frames(mac(2), mac(7))))).await.unwrap();
        let add = vec![crate::suite::tunnel::frame("kmac", 0x0003_0200, mac(3))];
        linux.apply(&Step::Elements { family: TableFamily::Netdev, remove: vec![], add }).await.unwrap();
        let shown = read("nft -j list table netdev sortie");
        let find =
            |object: &Value| object.get("map").filter(|map| map["name"] == "kmac").map(|map| map["elem"].clone());
        let elements = shown["nftables"].as_array().unwrap().iter().find_map(find).unwrap();
        assert_eq!(elements, json!([[0x100, mac(2).to_string()], [0x0003_0200, mac(3).to_string()]]));
        run("nft delete element netdev sortie kmac { 0x00030200 : 02:53:4f:52:00:03 }");
    });
}

#[test]
fn what_others_do_to_the_device_or_its_table_is_reported() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        let mut events = Events::open(linux.own(), Numbers::default()).unwrap();
        let other = Tunnel { mac: mac(9), ..tunnel([2]) };
        let is_device = |event: &Event| matches!(event, Event::Device { name: Some(name), .. } if name == "sor0");
        let is_nft = |event: &Event| *event == Event::Nft;
        for (line, expected) in [
            ("ip link set dev sor0 down", is_device as fn(&Event) -> bool),
            ("ip link del dev sor0", is_device),
            ("nft delete element netdev sortie kmac { 0x100 }", is_nft),
            ("nft delete table netdev sortie", is_nft),
            ("true", is_device),
        ] {
            ensure(&mut linux, &tunnel([2])).await;
            linux.apply(&Step::Nft(NftChange::Replace(frames(mac(2), mac(7))))).await.unwrap();
            while timeout(Duration::from_millis(100), events.next()).await.is_ok() {}
            run(line);
            if line == "true" {
                // What hung on the device we replaced must be looked at again.
                ensure(&mut linux, &other).await;
            }
            let found = async { while !expected(&events.next().await) {} };
            timeout(Duration::from_secs(10), found).await.unwrap_or_else(|_| panic!("{line}"));
        }
    });
}

/// One frame as `tcpdump` shows it, once the capture is running.
struct Capture(Child);

impl Capture {
    fn start(far: &FarEnd) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &far.name, "tcpdump", "-i", TUNNEL_DEVICE, "-Q", "in", "-e", "-n", "-l", "-c", "1"])
            .args(["udp", "and", "port", "7777"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(words.any(|line| line.unwrap().contains("listening on")), "tcpdump ended");
        std::thread::spawn(move || words.for_each(drop));
        Self(child)
    }

    /// Sends until a frame came.
    fn first(mut self, mut send: impl FnMut()) -> String {
        crate::support::eventually("a frame at the far end", || {
            send();
            self.0.try_wait().unwrap().is_some()
        });
        std::io::read_to_string(self.0.stdout.take().unwrap()).unwrap()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The far end's tunnel, made in its namespace on a thread of its own.
fn ensure_there(far: &FarEnd, tunnel: Tunnel) {
    let path = Path::new("/var/run/netns").join(&far.name);
    let work = move || {
        netns::enter(&path).unwrap();
        let files = tempfile::tempdir().unwrap();
        let mut linux = Linux::open(Numbers::default(), files.path().join("sysctl.json")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ensure(&mut linux, &tunnel));
    };
    std::thread::spawn(work).join().unwrap();
}

#[test]
fn a_marked_packet_reaches_the_peer_with_the_addresses_of_its_mark() {
    in_namespace(async |node| {
        for (here, there, to) in
            [("198.51.100.1", "198.51.100.2", "203.0.113.9"), ("2001:db8:5::1", "2001:db8:5::2", "2001:db8:9::9")]
        {
            let far = FarEnd::new();
            let ends = [here, there].map(|address| address.parse().unwrap());
            let source = Mac([0x02, 0x53, 0, 1, 0x10, 0]);
            ensure_there(&far, Tunnel { local: ends[1], mac: mac(2), peers: [(mac(1), ends[0])].into() });
            let own = Tunnel { local: ends[0], mac: mac(1), peers: [(mac(2), ends[1])].into() };
            let mut linux = node.linux();
            ensure(&mut linux, &own).await;
            for _ in 0..2 {
                // Newer kernels keep the chain for the next device, and then nobody makes it anew.
                if linux.observe().await.unwrap().frames != Some(frames(mac(2), source)) {
                    linux.apply(&Step::Nft(NftChange::Replace(frames(mac(2), source)))).await.unwrap();
                }
                for route in routes_in() {
                    linux.apply(&Step::EnsureRoute(route)).await.unwrap();
                }
                let family = if here.contains(':') { "-6" } else { "-4" };
                run(&format!("ip {family} rule add pref 9 fwmark 0x100 lookup 10000"));
                let socket =
                    socket2::Socket::new(socket2::Domain::for_address((ends[0], 0).into()), socket2::Type::DGRAM, None)
                        .unwrap();
                socket.set_mark(0x100).unwrap();
                socket.bind(&std::net::SocketAddr::from((ends[0], 0)).into()).unwrap();
                let to = std::net::SocketAddr::from((to.parse::<std::net::IpAddr>().unwrap(), 7777)).into();
                let seen = Capture::start(&far).first(|| assert_eq!(socket.send_to(b"x", &to).unwrap(), 1));
                assert!(seen.contains(&format!("{source} > {}", mac(2))), "{seen}");
                run(&format!("ip {family} rule del pref 9"));
                // A device made anew carries the same.
                run("ip link del dev sor0");
                ensure(&mut linux, &own).await;
            }
            linux.apply(&Step::RemoveTunnel).await.unwrap();
            run("ip link del dev w");
        }
    });
}
