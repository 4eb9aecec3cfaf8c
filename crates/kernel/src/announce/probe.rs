//! Whether anybody on a link has an address.
//!
//! Guarantees: asking tells nobody that the address is ours, and changes no neighbour's table. Leaves out:
//! addresses of this host itself.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use sortie_core::model::DeviceName;
use tokio::time::{Instant, timeout_at};

use super::arp::{Arp, Operation};
use super::ethernet::Mac;
use super::link::Links;
use super::ndp::{Discovery, Kind};
use super::port::{FRAME, Port};
use crate::KernelError;

/// Questions within a deadline (RFC 5227 section 1.1, `PROBE_NUM`).
const QUESTIONS: u32 = 3;
/// They are this part of the deadline apart, so that the last one has half of it to be answered.
const PARTS: u32 = 4;

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Nobody answered in time.
    Nobody,
    /// The station with this link address has it.
    Answered(Mac),
    /// Nobody answered, but this station asked the same (RFC 5227 section 2.1.1, RFC 4862 section 5.4.3).
    Asked(Mac),
}

/// Asks three times within the deadline who has the address: by ARP from `0.0.0.0` (RFC 5227 section 2.1.1), by
/// neighbour discovery from `::` (RFC 4862 section 5.4.2). Returns at the first answer. The spacing is a fourth of the
/// deadline, not the one to two seconds of RFC 5227.
///
/// # Errors
/// When the device is gone, down or not Ethernet, or there is no CAP_NET_RAW. Must be called inside a tokio runtime and
/// in the namespace of the device.
pub async fn probe(device: &DeviceName, address: IpAddr, deadline: Duration) -> Result<ProbeOutcome, KernelError> {
    let port = Port::open(device, Links::read()?.find(device)?)?;
    ask(&port, address, deadline).await.map_err(|source| KernelError::System {
        operation: "probe",
        object: format!("{address} dev {device}"),
        source,
    })
}

async fn ask(port: &Port, address: IpAddr, deadline: Duration) -> io::Result<ProbeOutcome> {
    let start = Instant::now();
    let (question, mut asked) = (question(port.mac(), address), None);
    for number in 1..=QUESTIONS {
        port.send(&question)?;
        let part = if number == QUESTIONS { deadline } else { deadline / PARTS * number };
        if let Ok(answer) = timeout_at(start + part, answer(port, address, &mut asked)).await {
            return answer.map(ProbeOutcome::Answered);
        }
    }
    Ok(asked.map_or(ProbeOutcome::Nobody, ProbeOutcome::Asked))
}

fn question(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Arp::probe(own, address).frame(),
        IpAddr::V6(address) => Discovery::probe(own, address).frame(),
    }
}

/// Who says to have the address; notes who else asks for it.
async fn answer(port: &Port, address: IpAddr, asked: &mut Option<Mac>) -> io::Result<Mac> {
    let channel = if address.is_ipv4() { &port.arp } else { &port.discovery };
    let mut buffer = [0; FRAME];
    loop {
        let length = channel.receive(&mut buffer).await?;
        let is_other = |mac: &Mac| *mac != port.mac();
        if let Some(mac) = owner(&buffer[..length], address).filter(is_other) {
            return Ok(mac);
        }
        *asked = asked.or_else(|| prober(&buffer[..length], address).filter(is_other));
    }
}

/// Who says in a frame to have the address, in an answer or otherwise.
fn owner(frame: &[u8], address: IpAddr) -> Option<Mac> {
    match address {
        IpAddr::V4(address) => Arp::parse(frame).filter(|arp| arp.sender.address == address).map(|arp| arp.sender.mac),
        IpAddr::V6(address) => {
            let message = Discovery::parse(frame)?;
            let says = match message.kind {
                Kind::Advertisement(_) => message.target,
                Kind::Solicitation => message.source,
            };
            (says == address).then(|| message.link.unwrap_or(message.header.source))
        }
    }
}

/// Who probes for the address in a frame.
fn prober(frame: &[u8], address: IpAddr) -> Option<Mac> {
    match address {
        IpAddr::V4(address) => {
            let arp = Arp::parse(frame)?;
            let is_probe = arp.sender.address.is_unspecified() && arp.target.address == address;
            (is_probe && arp.operation == Operation::Request).then_some(arp.sender.mac)
        }
        IpAddr::V6(address) => {
            let message = Discovery::parse(frame)?;
            let is_probe = message.source.is_unspecified() && message.target == address;
            (is_probe && matches!(message.kind, Kind::Solicitation)).then_some(message.header.source)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::arp::Station;

    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn whoever_says_to_have_the_address_has_it() {
        let address = "192.0.2.9".parse().unwrap();
        let theirs = Arp::probe(Mac([2, 0, 0, 0, 0, 1]), address).reply(THEIRS);
        assert_eq!(owner(&theirs.frame(), address.into()), Some(THEIRS));
        let use_of_it = Arp::question(Station { mac: THEIRS, address }, "192.0.2.1".parse().unwrap());
        assert_eq!(owner(&use_of_it.frame(), address.into()), Some(THEIRS));
        assert_eq!(owner(&Arp::probe(THEIRS, address).frame(), address.into()), None);
        assert_eq!(prober(&Arp::probe(THEIRS, address).frame(), address.into()), Some(THEIRS));
        assert_eq!(prober(&theirs.frame(), address.into()), None);
        let address = "2001:db8::9".parse().unwrap();
        assert_eq!(owner(&Discovery::announcement(THEIRS, address).frame(), address.into()), Some(THEIRS));
        assert_eq!(owner(&Discovery::probe(THEIRS, address).frame(), address.into()), None);
        assert_eq!(prober(&Discovery::probe(THEIRS, address).frame(), address.into()), Some(THEIRS));
    }
}
