//! Clients reach pods by the address of their Service, and answers leave by its route.

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{CLIENT4, CLIENT6, PATIENCE, SILENCE};
use sortie_testkit::{Capture, Captured, Door, Echo, Flow, Lab, Pod, Transport, kernel, probe};
use sortie_tests::scenario;

use super::stage::{addresses, scene};

/// As kube-proxy does it: the Service's address and ports are translated to the pod's.
fn serve(lab: &Lab, pod: &Pod, vip: [std::net::IpAddr; 2]) -> Result<Echo> {
    lab.node.nft(&format!(
        "table ip proxy {{ chain in {{ type nat hook prerouting priority -100; \
           ip daddr {} meta l4proto {{ tcp, udp, sctp }} th dport {{ 5060, 2905 }} dnat to {}; }}; }}\n\
         table ip6 proxy {{ chain in {{ type nat hook prerouting priority -100; \
           ip6 daddr {} meta l4proto {{ tcp, udp, sctp }} th dport {{ 5060, 2905 }} dnat to {}; }}; }}",
        vip[0],
        pod.ip4()?,
        vip[1],
        pod.ip6()?
    ))?;
    let ports = ["0.0.0.0:5060", "[::]:5060", "0.0.0.0:2905", "[::]:2905"];
    let doors: Vec<Door> =
        ports.iter().map(|at| Door { label: "pod".into(), device: None, at: at.parse().unwrap() }).collect();
    Echo::start(&pod.namespace, &doors)
}

fn port(transport: Transport) -> u16 {
    if transport == Transport::Sctp { 2905 } else { 5060 }
}

/// A client far behind router `b` does not lie on the link: answers that took the main table would leave by `a`.
fn from_far(lab: &Lab, vip: [std::net::IpAddr; 2]) -> Result<()> {
    lab.router("b").ip(&format!(
        "route replace {} via 172.16.1.11 src {}\n-6 route replace {} via fd00:16::11 src {}",
        vip[0], CLIENT4[1], vip[1], CLIENT6[1]
    ))
}

#[test]
fn answers_to_clients_leave_by_the_services_route_with_its_address() -> Result<()> {
    scenario(|lab| {
        let (scene, pod) = scene(lab, "sortie.dev/route: b")?;
        let vip = addresses(&scene.helper, "sip")?;
        let _echo = serve(lab, &pod, vip)?;
        from_far(lab, vip)?;
        let wrong = Capture::start(lab.router("a"))?;
        for to in vip {
            for transport in Transport::ALL {
                let flow = Flow { transport, port: 40_000, to: (to, port(transport)).into() };
                let seen = probe(lab.router("b"), flow, PATIENCE)?;
                seen.with_context(|| format!("no answer to {flow}"))?;
            }
        }
        let is_answer = |c: &Captured| c.device == "node" && c.is_incoming && c.packet.destination_port == 40_000;
        assert_eq!(wrong.count(is_answer)?, 0, "answers left by the main table");
        Ok(())
    })
}

#[test]
fn what_nobody_serves_is_dropped_and_counted_and_gets_no_reset() -> Result<()> {
    scenario(|lab| {
        let (scene, _) = scene(lab, "sortie.dev/route: b")?;
        let vip = addresses(&scene.helper, "sip")?;
        let back = Capture::start(lab.router("b"))?;
        for to in vip {
            for transport in [Transport::Udp, Transport::Tcp] {
                let flow = Flow { transport, port: 40_001, to: (to, 9).into() };
                ensure!(probe(lab.router("b"), flow, SILENCE)?.is_none(), "{flow} was answered");
            }
        }
        let is_reply = |c: &Captured| c.device == "node" && c.is_incoming && vip.contains(&c.packet.source);
        assert_eq!(back.count(is_reply)?, 0);
        ensure!(kernel::counter(&lab.node, "drop_unserved")? >= 4, "nothing was counted");
        Ok(())
    })
}
