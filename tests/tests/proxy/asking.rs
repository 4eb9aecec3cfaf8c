//! Questions to the pods of a Service.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::probe::udp_socket;
use sortie_testkit::{Flow, Namespace, Seen, Transport, poll, probe};

/// How long an answer may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
/// When a question without an answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Ports of the Service for UDP and TCP, and for SCTP.
pub(crate) const PORTS: [u16; 2] = [5060, 2905];
/// The same on every node.
pub(crate) const NODE_PORTS: [u16; 2] = [30_060, 30_905];

/// One of each transport.
pub(crate) fn flows_to(at: IpAddr, [port, sctp]: [u16; 2]) -> [Flow; 3] {
    Transport::ALL.map(|transport| {
        let port = if transport == Transport::Sctp { sctp } else { port };
        Flow { transport, port: 0, to: (at, port).into() }
    })
}

/// A client is answered by the pod, over every transport; what the pod saw.
pub(crate) fn asks(client: &Namespace, (port, flows): (u16, [Flow; 3]), pod: usize) -> Result<Vec<Seen>> {
    let ask = |flow: Flow| {
        let flow = Flow { port, ..flow };
        let seen = probe(client, flow, LIMIT)?.with_context(|| format!("no answer to {flow} by p{pod}"))?;
        ensure!(seen.door == format!("p{pod}"), "{flow} was answered by {seen}");
        Ok(seen)
    };
    flows.into_iter().map(ask).collect()
}

/// What a client hears after datagrams from this port. On a busy machine an owner may lose its permission for a moment.
pub(crate) fn refused(client: &Namespace, (port, to): (u16, SocketAddr)) -> Result<ErrorKind> {
    client.with(|| {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = udp_socket((any, port).into())?;
        socket.connect(to).context("cannot connect")?;
        socket.set_read_timeout(Some(AGAIN)).context("cannot set a time limit")?;
        let heard = || {
            // An error that came before is told to whoever sends next.
            let sent = socket.send(b"?").and_then(|_| socket.recv(&mut [0; 64]));
            sent.err().map(|error| error.kind()).filter(|kind| *kind != ErrorKind::WouldBlock)
        };
        poll(LIMIT, &format!("an error from {to}"), heard)
    })
}
