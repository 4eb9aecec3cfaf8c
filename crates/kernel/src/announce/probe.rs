//! Whether anybody on a link has an address.
//!
//! Guarantees: asking tells nobody that the address is ours, and changes no neighbour's table; any number of probes on a
//! device share its sockets, whose opening and closing waits for all processors (`synchronize_net` in the kernel, tens of
//! milliseconds on a busy machine) and therefore happens on other threads. Leaves out: addresses of this host itself.

mod listener;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sortie_core::model::DeviceName;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use self::listener::{Ear, Listener, Said};
use super::arp::Arp;
use super::ethernet::Mac;
use super::ndp::Discovery;
use super::port::is_away;
use crate::KernelError;

/// Questions within a deadline (RFC 5227 section 1.1, `PROBE_NUM`).
const QUESTIONS: u32 = 3;
/// They are this part of the deadline apart, so that the last one has half of it to be answered.
const PARTS: u32 = 4;
/// How long a device is taken to be the one it was.
const TRUST: Duration = Duration::from_secs(1);

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

/// Asks on the devices of the network namespace of the thread whose runtime it is used in.
#[derive(Default)]
pub struct Prober {
    listeners: Mutex<BTreeMap<DeviceName, (Arc<Listener>, Instant)>>,
}

impl Prober {
    /// Asks three times within the deadline who has the address: by ARP from `0.0.0.0` (RFC 5227 section 2.1.1), by
    /// neighbour discovery from `::` (RFC 4862 section 5.4.2). Returns at the first answer. The spacing is a fourth of
    /// the deadline, not the one to two seconds of RFC 5227.
    ///
    /// # Errors
    /// When the device is gone, down or not Ethernet, or there is no CAP_NET_RAW.
    pub async fn probe(
        &self,
        device: &DeviceName,
        address: IpAddr,
        deadline: Duration,
    ) -> Result<ProbeOutcome, KernelError> {
        let failed =
            |source| KernelError::System { operation: "probe", object: format!("{address} dev {device}"), source };
        let listener = self.listener(device).await?;
        match ask(&listener, address, deadline).await {
            Err(error) if is_away(&error) => {
                self.listeners.lock().await.remove(device);
                let listener = self.listener(device).await?;
                ask(&listener, address, deadline).await.map_err(failed)
            }
            outcome => outcome.map_err(failed),
        }
    }

    /// The one that listens on the device as it is now.
    async fn listener(&self, device: &DeviceName) -> Result<Arc<Listener>, KernelError> {
        let mut listeners = self.listeners.lock().await;
        let before = listeners.get(device).cloned();
        if let Some((listener, checked)) = &before
            && checked.elapsed() < TRUST
        {
            return Ok(Arc::clone(listener));
        }
        let (name, old) = (device.clone(), before.map(|(listener, _)| listener));
        let open = move || Listener::on(&name, old);
        let opened = tokio::task::spawn_blocking(open)
            .await
            .map_err(|join| KernelError::Answer { operation: "open packet socket", detail: join.to_string() })?;
        match opened {
            Ok(listener) => {
                listeners.insert(device.clone(), (Arc::clone(&listener), Instant::now()));
                Ok(listener)
            }
            Err(error) => {
                listeners.remove(device);
                Err(error)
            }
        }
    }
}

async fn ask(listener: &Listener, address: IpAddr, deadline: Duration) -> io::Result<ProbeOutcome> {
    let start = Instant::now();
    let mut ear = listener.hear(address);
    let (question, mut asked) = (question(listener.mac(), address), None);
    for number in 1..=QUESTIONS {
        listener.send(&question)?;
        let part = if number == QUESTIONS { deadline } else { deadline / PARTS * number };
        if let Ok(owner) = timeout_at(start + part, answer(&mut ear, &mut asked)).await {
            return Ok(ProbeOutcome::Answered(owner));
        }
    }
    Ok(asked.map_or(ProbeOutcome::Nobody, ProbeOutcome::Asked))
}

/// Who says to have the address; notes who else asks for it.
async fn answer(ear: &mut Ear<'_>, asked: &mut Option<Mac>) -> Mac {
    loop {
        match ear.next().await {
            Said::Mine(mac) => return mac,
            Said::Whose(mac) => *asked = asked.or(Some(mac)),
        }
    }
}

fn question(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Arp::probe(own, address).frame(),
        IpAddr::V6(address) => Discovery::probe(own, address).frame(),
    }
}
