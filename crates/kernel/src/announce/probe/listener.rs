//! One device, heard by any number of probes.
//!
//! Guarantees: whoever began to hear before a frame came gets what it says about its address. Leaves out: asking.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sortie_core::model::DeviceName;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::KernelError;
use crate::announce::arp::{Arp, Operation};
use crate::announce::ethernet::Mac;
use crate::announce::link::Links;
use crate::announce::ndp::{Discovery, Kind};
use crate::announce::port::{Channel, FRAME, Port, is_away};

/// A socket that fails in an unknown way is not read in a tight loop.
const PAUSE: Duration = Duration::from_secs(1);

/// What a station says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has it.
    Mine(Mac),
    /// It asks the same as a probe does.
    Whose(Mac),
}

/// The sockets of a device and who waits for what.
pub(super) struct Listener {
    port: Arc<Port>,
    waiting: Waiting,
    _readers: JoinSet<()>,
}

type Waiting = Arc<Mutex<BTreeMap<IpAddr, Vec<UnboundedSender<Said>>>>>;

/// Hears about one address until dropped.
pub(super) struct Ear<'a> {
    waiting: &'a Waiting,
    address: IpAddr,
    said: UnboundedReceiver<Said>,
}

impl Listener {
    /// The device as it is now; `old` is used again if it still fits. Blocks; inside a runtime.
    pub(super) fn on(device: &DeviceName, old: Option<Arc<Self>>) -> Result<Arc<Self>, KernelError> {
        let link = Links::read()?.find(device)?;
        if let Some(same) = old.filter(|old| old.port.link.is_same(&link)) {
            return Ok(same);
        }
        let (port, waiting) = (Arc::new(Port::open(device, link)?), Waiting::default());
        let mut readers = JoinSet::new();
        for pick in [arp as Pick, discovery] {
            readers.spawn(read(Arc::clone(&port), pick, Arc::clone(&waiting)));
        }
        Ok(Arc::new(Self { port, waiting, _readers: readers }))
    }

    pub(super) fn mac(&self) -> Mac {
        self.port.mac()
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.port.send(frame)
    }

    /// From now on hears what is said about the address.
    pub(super) fn hear(&self, address: IpAddr) -> Ear<'_> {
        let (tell, said) = unbounded_channel();
        lock(&self.waiting).entry(address).or_default().push(tell);
        Ear { waiting: &self.waiting, address, said }
    }
}

impl Ear<'_> {
    /// The next word; none comes once the listener is gone.
    pub(super) async fn next(&mut self) -> Said {
        match self.said.recv().await {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        self.said.close();
        let mut waiting = lock(self.waiting);
        if let Some(tells) = waiting.get_mut(&self.address) {
            tells.retain(|tell| !tell.is_closed());
            if tells.is_empty() {
                waiting.remove(&self.address);
            }
        }
    }
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, BTreeMap<IpAddr, Vec<UnboundedSender<Said>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

type Pick = fn(&Port) -> &Channel;

fn arp(port: &Port) -> &Channel {
    &port.arp
}

fn discovery(port: &Port) -> &Channel {
    &port.discovery
}

/// Reads until aborted.
async fn read(port: Arc<Port>, pick: Pick, waiting: Waiting) {
    let mut buffer = [0; FRAME];
    loop {
        match pick(&port).receive(&mut buffer).await {
            Ok(length) => pass_on(&waiting, port.mac(), &buffer[..length]),
            Err(error) if is_away(&error) => {}
            Err(error) => {
                log::warn!("frames cannot be read device={} error={error}", port.device);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn pass_on(waiting: &Waiting, own: Mac, frame: &[u8]) {
    let Some((address, said)) = said(frame) else { return };
    let (Said::Mine(mac) | Said::Whose(mac)) = said;
    if mac == own {
        return;
    }
    for tell in lock(waiting).get(&address).into_iter().flatten() {
        // Who heard enough is gone.
        let _ = tell.send(said);
    }
}

/// What a frame says about which address, in an answer or otherwise.
fn said(frame: &[u8]) -> Option<(IpAddr, Said)> {
    Arp::parse(frame).and_then(in_arp).or_else(|| Discovery::parse(frame).map(in_discovery))
}

fn in_arp(arp: Arp) -> Option<(IpAddr, Said)> {
    if !arp.sender.address.is_unspecified() {
        return Some((arp.sender.address.into(), Said::Mine(arp.sender.mac)));
    }
    let asks = arp.operation == Operation::Request;
    asks.then_some((arp.target.address.into(), Said::Whose(arp.sender.mac)))
}

fn in_discovery(message: Discovery) -> (IpAddr, Said) {
    let mac = message.link.unwrap_or(message.header.source);
    match message.kind {
        Kind::Advertisement(_) => (message.target.into(), Said::Mine(mac)),
        Kind::Solicitation if message.source.is_unspecified() => {
            (message.target.into(), Said::Whose(message.header.source))
        }
        Kind::Solicitation => (message.source.into(), Said::Mine(mac)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::arp::Station;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn whoever_says_to_have_the_address_has_it() {
        let address: std::net::Ipv4Addr = "192.0.2.9".parse().unwrap();
        let mine = Some((address.into(), Said::Mine(THEIRS)));
        let theirs = Arp::probe(OURS, address).reply(THEIRS);
        assert_eq!(said(&theirs.frame()), mine);
        let use_of_it = Arp::question(Station { mac: THEIRS, address }, "192.0.2.1".parse().unwrap());
        assert_eq!(said(&use_of_it.frame()), mine);
        assert_eq!(said(&Arp::probe(THEIRS, address).frame()), Some((address.into(), Said::Whose(THEIRS))));
        let address: std::net::Ipv6Addr = "2001:db8::9".parse().unwrap();
        let announcement = Discovery::announcement(THEIRS, address).frame();
        assert_eq!(said(&announcement), Some((address.into(), Said::Mine(THEIRS))));
        let probe = Discovery::probe(THEIRS, address).frame();
        assert_eq!(said(&probe), Some((address.into(), Said::Whose(THEIRS))));
        assert_eq!(said(&[0; 60]), None);
    }
}
