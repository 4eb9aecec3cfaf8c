//! The topology itself, without our programs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sortie_testkit::lab::{CLIENT4, CLIENT6, NODE4, NODE6, server4, server6};
use sortie_testkit::{Capture, Door, Echo, Flow, Lab, Stream, Transport, ping, probe};

const LIMIT: Duration = Duration::from_secs(3);

#[test]
fn the_server_says_by_which_router_and_from_whom_a_request_came() -> Result<()> {
    let started = Instant::now();
    let lab = Lab::new()?;
    eprintln!("topology in {} ms", started.elapsed().as_millis());
    for transport in Transport::ALL {
        for (to, own) in [(server4(7000), NODE4[0].to_string()), (server6(7000), NODE6[0].to_string())] {
            let flow = Flow { transport, port: 4000, to };
            let seen = probe(&lab.node, flow, LIMIT)?.with_context(|| format!("no answer to {flow}"))?;
            assert_eq!(
                (seen.door.as_str(), seen.source.ip().to_string(), seen.source.port()),
                ("a", own, 4000),
                "{flow}"
            );
        }
    }
    assert!(ping(&lab.node, server4(0).ip(), LIMIT)? && ping(&lab.node, server6(0).ip(), LIMIT)?);
    Ok(())
}

#[test]
fn a_request_that_is_routed_by_another_router_is_answered_by_it() -> Result<()> {
    let lab = Lab::new()?;
    lab.node.ip("route replace default via 172.16.2.1\n-6 route replace default via fd00:17::1")?;
    for to in [server4(7001), server6(7001)] {
        let seen = probe(&lab.node, Flow::tcp(0, to), LIMIT)?.context("no answer")?;
        assert_eq!(seen.door, "c");
    }
    Ok(())
}

#[test]
fn a_capture_holds_every_packet_of_a_stream() -> Result<()> {
    let lab = Lab::new()?;
    let capture = Capture::start(&lab.routers[0])?;
    let flows = [Flow::udp(5060, server4(7000)), Flow::sctp(5061, server6(7000)), Flow::tcp(5062, server4(7000))];
    let stream = Stream::start(&lab.node, &flows, Duration::from_millis(2))?;
    stream.answered(50, LIMIT)?;
    let tallies = stream.stop();
    for flow in [flows[0], flows[1]] {
        let wanted = |c: &sortie_testkit::Captured| {
            c.device == "node"
                && c.is_incoming
                && c.packet.source_port == flow.port
                && c.packet.destination_port == 7000
        };
        assert_eq!(capture.count(wanted)? as u64, tallies[&flow].sent, "{flow}");
    }
    assert_eq!(tallies[&flows[2]].connections, 1);
    Ok(())
}

#[test]
fn a_client_behind_a_router_reaches_the_node() -> Result<()> {
    let lab = Lab::new()?;
    let doors =
        ["0.0.0.0:8000", "[::]:8000"].map(|at| Door { label: "node".into(), device: None, at: at.parse().unwrap() });
    let _echo = Echo::start(&lab.node, &doors)?;
    lab.routers[0].ip(&format!(
        "route add 10.10.0.11 dev node src {}\n-6 route add fd00:10::11 dev node src {}",
        CLIENT4[0], CLIENT6[0]
    ))?;
    for to in [(NODE4[0], 8000).into(), (NODE6[0], 8000).into()] {
        let seen = probe(&lab.routers[0], Flow::udp(0, to), LIMIT)?.context("no answer")?;
        let client = if to.is_ipv4() { CLIENT4[0].to_string() } else { CLIENT6[0].to_string() };
        assert_eq!(seen.source.ip().to_string(), client);
    }
    Ok(())
}
