//! Next-hop probes against a far end in a namespace of its own.

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sortie_kernel::echo::Echo;
use sortie_kernel::neighbour::{Neighbour, Neighbours};
use sortie_kernel::netns;

use crate::suite::device;
use crate::support::{attempt, eventually, in_namespace, run};

static FAR_ENDS: AtomicU32 = AtomicU32::new(0);

/// A router behind device `w`; its namespace goes when this does.
pub(crate) struct FarEnd {
    pub(crate) name: String,
}

impl FarEnd {
    pub(crate) fn new() -> Self {
        let number = FAR_ENDS.fetch_add(1, Ordering::Relaxed);
        let far = Self { name: format!("sok-{}-{number}", std::process::id()) };
        run(&format!("ip netns add {}", far.name));
        far.connect();
        far
    }

    /// Makes `w` here and `e` there.
    pub(crate) fn connect(&self) {
        run(&format!("ip link add name w type veth peer name e netns {}", self.name));
        for line in ["link set dev w up", "addr add 198.51.100.1/24 dev w", "addr add 2001:db8:5::1/64 dev w nodad"] {
            run(&format!("ip {line}"));
        }
        for line in ["link set dev e up", "addr add 198.51.100.2/24 dev e", "addr add 2001:db8:5::2/64 dev e nodad"] {
            self.set(line);
        }
    }

    pub(crate) fn set(&self, line: &str) {
        run(&format!("ip -n {} {line}", self.name));
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        attempt(&format!("ip netns del {}", self.name));
    }
}

const GATEWAYS: [&str; 2] = ["198.51.100.2", "2001:db8:5::2"];

fn gateways() -> [IpAddr; 2] {
    GATEWAYS.map(|g| g.parse().unwrap())
}

#[test]
fn a_neighbour_that_is_pulled_fails_and_comes_back() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let mut neighbours = Neighbours::open().unwrap();
        let w = device("w");
        for gateway in gateways() {
            assert_eq!(neighbours.state(&w, gateway).unwrap(), Neighbour::Absent);
            neighbours.probe(&w, gateway).unwrap();
            eventually("reachable", || neighbours.state(&w, gateway).unwrap() == Neighbour::Reachable);
            neighbours.probe(&w, gateway).unwrap();
            let again =
                eventually("reachable again", || neighbours.state(&w, gateway).unwrap() == Neighbour::Reachable);
            assert!(again < Duration::from_millis(500), "{again:?}");
        }
        // The carrier stays: only the addresses are gone.
        far.set("addr flush dev e");
        let start = Instant::now();
        for gateway in gateways() {
            neighbours.probe(&w, gateway).unwrap();
        }
        for gateway in gateways() {
            eventually("failed", || neighbours.state(&w, gateway).unwrap() == Neighbour::Failed);
        }
        println!("failure seen after {:?}", start.elapsed());
        far.set("addr add 198.51.100.2/24 dev e");
        far.set("addr add 2001:db8:5::2/64 dev e nodad");
        for gateway in gateways() {
            eventually("back", || {
                neighbours.probe(&w, gateway).unwrap();
                neighbours.state(&w, gateway).unwrap() == Neighbour::Reachable
            });
        }
        assert!(neighbours.probe(&device("gone"), gateways()[0]).is_err());
    });
}

#[test]
fn probing_again_does_not_start_over() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let mut neighbours = Neighbours::open().unwrap();
        let (w, gateway) = (device("w"), gateways()[0]);
        neighbours.probe(&w, gateway).unwrap();
        eventually("reachable", || neighbours.state(&w, gateway).unwrap() == Neighbour::Reachable);
        far.set("link set dev e address 02:00:00:00:00:99");
        far.set("addr flush dev e");
        // A probe of what has failed asks anew, so we look first.
        eventually("failed under constant probing", || {
            let has_failed = neighbours.state(&w, gateway).unwrap() == Neighbour::Failed;
            neighbours.probe(&w, gateway).unwrap();
            has_failed
        });
    });
}

#[test]
fn an_echo_is_answered_only_while_somebody_is_there() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let echo = |target: &str, deadline| Echo {
            device: device("w"),
            target: target.parse().unwrap(),
            mark: Some(0x100),
            deadline: Duration::from_millis(deadline),
        };
        for gateway in GATEWAYS {
            assert!(echo(gateway, 5000).ping().unwrap());
        }
        let start = Instant::now();
        assert!(!echo("198.51.100.9", 200).ping().unwrap());
        let took = start.elapsed();
        assert!((Duration::from_millis(190)..Duration::from_secs(2)).contains(&took), "{took:?}");
        assert!(Echo { device: device("gone"), ..echo(GATEWAYS[0], 200) }.ping().is_err());
        // Without a route the kernel takes the target for a neighbour; by mark there is one in another table.
        assert!(!echo("203.0.113.77", 200).ping().unwrap());
        run("ip rule add fwmark 0x100/0x3f00 lookup 10000");
        run("ip route add 203.0.113.0/24 via 198.51.100.2 dev w table 10000");
        far.set("addr add 203.0.113.77/32 dev lo");
        far.set("link set dev lo up");
        assert!(echo("203.0.113.77", 5000).ping().unwrap());
        far.set("addr flush dev e");
        for gateway in GATEWAYS {
            assert!(!echo(gateway, 200).ping().unwrap());
        }
    });
}

#[test]
fn entering_a_namespace_moves_only_the_thread() {
    in_namespace(async |_| {
        let far = FarEnd::new();
        let path = format!("/var/run/netns/{}", far.name);
        let inside = std::thread::spawn(move || {
            netns::enter(Path::new(&path)).unwrap();
            run("ip -br link show dev e")
        });
        assert!(inside.join().unwrap().contains('e'));
        assert!(!attempt("ip link show dev e").0);
        let error = netns::enter(Path::new("/var/run/netns/sok-none")).unwrap_err();
        assert!(error.to_string().contains("/var/run/netns/sok-none"), "{error}");
        assert!(netns::enter(Path::new("/dev/null")).is_err());
    });
}
