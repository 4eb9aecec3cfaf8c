//! Connections that are copied from one router to another, which takes its place.
//!
//! ```text
//!  pod 10.1.0.5, .6, fd01::5 ── in [router] out ── server 192.0.2.10, 2001:db8::10
//! ```
//!
//! The router gives pods the addresses 192.0.2.200 and 2001:db8::200. Its devices move to another namespace, which has
//! the same rules and no connections but those copied.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use sortie_core::ids::Mask;
use sortie_core::model::ObjectName;
use sortie_core::replica::{Flow, Mirror, PathName, Progress, Replica, Succession, Tracked, Transport};
use sortie_core::state::Tuple;
use sortie_kernel::blocking::{Conntrack, Loaded};
use sortie_kernel::tracking::{Notice, Tracking};
use sortie_testkit::kernel::connections;
use sortie_testkit::{Namespace, Net};

use crate::support::{in_namespace, run};

const PATH: Mask = Mask(0x000f_ff00);
const NODE: Mask = Mask(0x3ff0_0000);
const WAIT: Duration = Duration::from_secs(10);
/// A datagram that was lost while a device came up is sent again after this time.
const AGAIN: Duration = Duration::from_millis(20);

struct Lab {
    pod: Namespace,
    server: Namespace,
    old: Namespace,
    new: Namespace,
    _net: Net,
}

/// Flows of pods get path 1 of this node's, as if their pods were on node 9.
const RULES: &str = "table inet lab {
    chain pre { type filter hook prerouting priority -90; ct mark 0 ct mark set 0x00900100; }
    chain post { type nat hook postrouting priority 90; oifname out snat ip to 192.0.2.200; oifname out snat ip6 to 2001:db8::200; }
}";

impl Lab {
    fn new() -> Self {
        let net = Net::new().unwrap();
        let [pod, server, old, new] = ["pod", "server", "old", "new"].map(|label| net.namespace(label).unwrap());
        pod.wire("eth0", (&old, "in")).unwrap();
        server.wire("eth0", (&old, "out")).unwrap();
        pod.ip("addr add 10.1.0.5/24 dev eth0\naddr add 10.1.0.6/24 dev eth0\naddr add fd01::5/64 dev eth0\n\
             route add default via 10.1.0.1\n-6 route add default via fd01::1")
            .unwrap();
        server
            .ip("addr add 192.0.2.10/24 dev eth0\naddr add 2001:db8::10/64 dev eth0\n\
                 route add 192.0.2.200/32 via 192.0.2.1\n-6 route add 2001:db8::200/128 via 2001:db8::1")
            .unwrap();
        for router in [&old, &new] {
            router.nft(RULES).unwrap();
            router.sysctl("net/ipv4/ip_forward", "1").unwrap();
            router.sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
        }
        let lab = Self { pod, server, old, new, _net: net };
        lab.address(&lab.old);
        lab
    }

    fn address(&self, router: &Namespace) {
        let lines = "addr add 10.1.0.1/24 dev in\naddr add fd01::1/64 dev in nodad\naddr add 192.0.2.1/24 dev out\n\
                     addr add 2001:db8::1/64 dev out nodad\nlink set dev in up\nlink set dev out up";
        router.ip(lines).unwrap();
    }

    /// The old router goes with everything it had but what is copied.
    fn takeover(&self) {
        let tracked = self.old.with(|| Ok(Conntrack::open()?.tracked(&[0x100], PATH.0)?)).unwrap();
        self.move_devices();
        let loaded = self.load(&tracked);
        assert_eq!((loaded.created, loaded.refused), (tracked.len(), 0), "{:?}", loaded.error);
        self.address(&self.new);
    }

    fn move_devices(&self) {
        for device in ["in", "out"] {
            self.old.ip(&format!("link set dev {device} netns {}", self.new.name())).unwrap();
        }
    }

    fn load(&self, tracked: &[Tracked]) -> Loaded {
        let entries = inherited(tracked);
        self.new.with(|| Ok(Conntrack::open()?.load(&entries, PATH)?)).unwrap()
    }

    fn udp(&self, namespace: &Namespace, address: &str) -> UdpSocket {
        let socket = namespace.with(|| Ok(UdpSocket::bind(address)?)).unwrap();
        socket.set_read_timeout(Some(AGAIN)).unwrap();
        socket
    }

    /// The pod calls; returns its socket and the address the server sees.
    fn call(&self, (from, to): (&str, &UdpSocket)) -> (UdpSocket, SocketAddr) {
        let socket = self.udp(&self.pod, from);
        socket.connect(to.local_addr().unwrap()).unwrap();
        let seen = sends(|| drop(socket.send(b"hello")), to);
        sends(|| drop(to.send_to(b"welcome", seen)), &socket);
        (socket, seen)
    }
}

/// Over the wire, from node 3 to node 9, where the path has number 0x42.
fn inherited(tracked: &[Tracked]) -> Vec<Tracked> {
    let service = ObjectName { namespace: "default".into(), name: "sip".into() };
    let name = PathName { service: service.clone(), route: None, epoch: 1 };
    let mut mirror = Mirror::new(PATH, NODE);
    mirror.reset([(0x100, name)].into(), tracked.iter().copied());
    let mut replica = Replica::default();
    for message in mirror.picture() {
        replica.hear(3, message, Default::default());
    }
    let inheritance = replica.take(&service, Default::default()).unwrap();
    let succession = Succession { from: inheritance.owner, to: 9 };
    inheritance.connections.iter().map(|(_, c)| c.rewritten(succession, (0x4200, NODE))).collect()
}

/// Sends until something arrives at `to`; from whom.
fn sends(send: impl Fn(), to: &UdpSocket) -> SocketAddr {
    let end = Instant::now() + WAIT;
    loop {
        send();
        match to.recv_from(&mut [0; 16]) {
            Ok((_, from)) => return from,
            Err(_) => assert!(Instant::now() < end, "nothing arrives"),
        }
    }
}

#[test]
fn a_server_reaches_a_silent_pod_after_a_takeover() {
    for (pod, far) in [("10.1.0.5:5060", "192.0.2.10:7000"), ("[fd01::5]:5060", "[2001:db8::10]:7000")] {
        let lab = Lab::new();
        let server = lab.udp(&lab.server, far);
        let (pod, seen) = lab.call((pod, &server));
        lab.takeover();
        sends(|| drop(server.send_to(b"push", seen)), &pod);
        assert_eq!(connections(&lab.new, "mark=16896").unwrap().len(), 1, "{far}");
    }
}

#[test]
fn without_a_copy_a_silent_pod_hears_nothing() {
    let lab = Lab::new();
    let server = lab.udp(&lab.server, "192.0.2.10:7000");
    let (pod, seen) = lab.call(("10.1.0.5:5060", &server));
    lab.move_devices();
    lab.address(&lab.new);
    // The way is open for another flow, which is why nothing before it was lost for another reason.
    lab.call(("10.1.0.6:6000", &server));
    server.send_to(b"push", seen).unwrap();
    lab.call(("10.1.0.6:6001", &server));
    assert!(pod.recv(&mut [0; 16]).is_err(), "the pod was reached");
}

#[test]
fn a_port_that_was_changed_stays_the_same() {
    let lab = Lab::new();
    let server = lab.udp(&lab.server, "192.0.2.10:7000");
    let (_first, _) = lab.call(("10.1.0.5:5060", &server));
    let (second, seen) = lab.call(("10.1.0.6:5060", &server));
    assert_ne!(seen.port(), 5060, "the port was not changed");
    lab.takeover();
    sends(|| drop(server.send_to(b"push", seen)), &second);
    assert_eq!(sends(|| drop(second.send(b"again")), &server), seen);
}

#[test]
fn a_tcp_connection_goes_on() {
    let lab = Lab::new();
    let listener = lab.server.with(|| Ok(TcpListener::bind("192.0.2.10:7000")?)).unwrap();
    let mut pod = lab.pod.with(|| Ok(TcpStream::connect("192.0.2.10:7000")?)).unwrap();
    let (mut server, seen) = listener.accept().unwrap();
    assert_eq!(seen.ip().to_string(), "192.0.2.200");
    for stream in [&pod, &server] {
        stream.set_read_timeout(Some(WAIT)).unwrap();
    }
    let mut exchange = |text: &[u8; 4]| {
        let mut buffer = [0; 4];
        server.write_all(text).unwrap();
        pod.read_exact(&mut buffer).unwrap();
        pod.write_all(&buffer).unwrap();
        server.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, text);
    };
    exchange(b"here");
    lab.takeover();
    exchange(b"push");
    let held = connections(&lab.new, "192.0.2.200").unwrap();
    assert!(held.len() == 1 && held[0].contains("ESTABLISHED") && held[0].contains("[ASSURED]"), "{held:?}");
}

/// Lines of `conntrack -L` without time, mark and count of users.
fn entries(namespace: &Namespace) -> BTreeSet<String> {
    let is_kept = |(at, word): &(usize, &str)| *at != 4 && !word.starts_with("mark=") && !word.starts_with("use=");
    let words = |line: String| {
        line.split_whitespace().enumerate().filter(is_kept).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    };
    connections(namespace, "").unwrap().into_iter().map(words).collect()
}

#[test]
fn entries_of_every_protocol_are_the_same_on_the_other_side() {
    let lab = Lab::new();
    let insert = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().chain(["-t", "200", "-m", "0x100", "-I"]).collect();
        lab.old.run("conntrack", &words).unwrap();
    };
    let sctp = "--state ESTABLISHED --orig-vtag 77 --reply-vtag 88 -u SEEN_REPLY,ASSURED";
    insert(&format!("-p sctp -s 10.1.0.5 -d 192.0.2.10 --sport 3000 --dport 2905 -n 192.0.2.200 {sctp}"));
    insert(&format!("-p sctp -s fd01::5 -d 2001:db8::10 --sport 3000 --dport 2905 -n 2001:db8::200 {sctp}"));
    insert("-p tcp -s 192.0.2.77 -d 192.0.2.200 --sport 99 --dport 80 -g 10.1.0.5:8080 --state SYN_SENT");
    insert("-p tcp -s fd01::5 -d 2001:db8::10 --sport 99 --dport 80 -n 2001:db8::200 --state ESTABLISHED");
    insert("-p udp -s 192.0.2.77 -d 192.0.2.200 --sport 99 --dport 5060 -g 10.1.0.5:15060");
    for far in ["192.0.2.10", "2001:db8::10"] {
        lab.pod.run("ping", &["-c", "1", "-W", "5", far]).unwrap();
    }
    let wanted = entries(&lab.old);
    let tracked = lab.old.with(|| Ok(Conntrack::open()?.tracked(&[0x100], PATH.0)?)).unwrap();
    assert!(tracked.iter().all(|entry| entry.flow.is_sound()), "{tracked:?}");
    let loaded = lab.load(&tracked);
    assert_eq!((loaded.created, loaded.refused), (wanted.len(), 0), "{:?}", loaded.error);
    assert_eq!(entries(&lab.new), wanted);
    let again = lab.load(&tracked);
    assert_eq!((again.created, again.present, again.refused), (0, wanted.len(), 0));
}

fn udp(number: u32) -> Tracked {
    let [_, a, b, c] = number.to_be_bytes();
    let ends = [format!("10.{a}.{b}.{c}"), "192.0.2.10".to_owned(), "192.0.2.200".to_owned()];
    let [pod, far, vip] = ends.map(|text| text.parse().unwrap());
    let port = 1024 + u16::try_from(number % 60_000).unwrap();
    let original = Tuple { source: pod, destination: far, protocol: 17, source_port: port, destination_port: 7000 };
    let reply = Tuple { source: far, destination: vip, protocol: 17, source_port: 7000, destination_port: port };
    let flow = Flow { original, reply, progress: Progress::Assured, timeout: 300, transport: Transport::Plain };
    Tracked { flow, mark: 0x100 }
}

#[test]
fn ten_thousand_connections_are_loaded_and_listed() {
    in_namespace(async |_| {
        let entries: Vec<Tracked> = (0..10_000).map(udp).collect();
        let mut table = Conntrack::open().unwrap();
        let begin = Instant::now();
        let loaded = table.load(&entries, PATH).unwrap();
        let took = begin.elapsed();
        assert_eq!(loaded.created, 10_000, "{:?}", loaded.error);
        assert_eq!(run("conntrack -C").trim(), "10000");
        let begin = Instant::now();
        let listed = table.tracked(&[0x100], PATH.0).unwrap();
        println!("10 000 connections loaded in {took:?}, listed in {:?}", begin.elapsed());
        assert_eq!(listed.len(), 10_000);
        assert_eq!(table.tracked(&[0x200], PATH.0).unwrap(), []);
        let many: Vec<u32> = (1..20).map(|path| path << 8).collect();
        assert_eq!(table.tracked(&many, PATH.0).unwrap().len(), 10_000);
    });
}

#[test]
fn a_loaded_connection_displaces_what_was_sent_for_it_without_the_address() {
    in_namespace(async |_| {
        let insert = |number: u32, words: &str| {
            let original = udp(number).flow.original;
            let (source, port) = (original.source, original.source_port);
            run(&format!("conntrack -I -p udp -s {source} -d 192.0.2.10 --sport {port} --dport 7000 -t 60 {words}"));
        };
        insert(1, "-m 0x40000100");
        insert(2, "-m 0x200");
        let port = udp(3).flow.original.source_port;
        run(&format!("conntrack -I -p udp -s 192.0.2.10 -d 192.0.2.200 --sport 7000 --dport {port} -t 60"));
        let loaded = Conntrack::open().unwrap().load(&[1, 2, 3, 4].map(udp), PATH).unwrap();
        assert_eq!((loaded.created, loaded.displaced, loaded.present, loaded.refused), (3, 2, 1, 0), "{loaded:?}");
        assert_eq!(run("conntrack -C").trim(), "4");
        assert_eq!(run("conntrack -L --mark 0x100 -q 192.0.2.200").lines().count(), 3);
    });
}

#[test]
fn an_entry_that_is_refused_does_not_keep_others_away() {
    in_namespace(async |_| {
        let strange = Flow { transport: Transport::Tcp(200), ..udp(1).flow };
        let tcp = Tuple { protocol: 6, ..strange.original };
        let strange = Flow { original: tcp, ..strange };
        let entries = [udp(2), Tracked { flow: strange, mark: 1 }, udp(3)];
        let loaded = Conntrack::open().unwrap().load(&entries, PATH).unwrap();
        assert_eq!((loaded.created, loaded.refused), (2, 1));
        assert!(loaded.error.is_some());
    });
}

async fn notices(tracking: &mut Tracking, count: usize) -> Vec<Notice> {
    let mut all = Vec::new();
    while all.len() < count {
        let more = tokio::time::timeout(WAIT, tracking.next()).await;
        all.extend(more.unwrap_or_else(|_| panic!("only {all:?}")));
    }
    all
}

#[test]
fn connections_that_begin_change_and_end_are_told() {
    in_namespace(async |_| {
        let mut tracking = Tracking::open().unwrap();
        run("conntrack -I -p tcp -s 10.1.0.5 -d 192.0.2.10 --sport 1 --dport 2 -t 60 --state SYN_SENT -m 0x100");
        run("conntrack -U -p tcp -s 10.1.0.5 -d 192.0.2.10 --sport 1 --dport 2 -m 0x200");
        run("conntrack -D -p tcp -s 10.1.0.5");
        let told = notices(&mut tracking, 3).await;
        let [Notice::Seen(new), Notice::Seen(changed), Notice::Gone(gone)] = told[..] else { panic!("{told:?}") };
        assert_eq!((new.mark, new.flow.transport), (0x100, Transport::Tcp(1)));
        assert_eq!((changed.mark, changed.flow.original), (0x200, new.flow.original));
        assert_eq!(gone, new.flow.original);
    });
}

#[test]
fn lost_notifications_are_told() {
    in_namespace(async |_| {
        let mut tracking = Tracking::open().unwrap();
        let mut table = Conntrack::open().unwrap();
        table.load(&(0..40_000).map(udp).collect::<Vec<_>>(), PATH).unwrap();
        let mut seen = 0;
        loop {
            let told = notices(&mut tracking, 1).await;
            seen += told.len();
            if told.contains(&Notice::Overrun) {
                break;
            }
            assert!(seen < 40_000, "everything arrived");
        }
    });
}
