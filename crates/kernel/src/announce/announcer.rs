//! Telling the neighbours where a virtual address is.
//!
//! Guarantees: announces in the order and pace of its schedule, with the device's link address at that moment; after
//! [`Announcer::set`] returned, nothing is announced that was taken away. Leaves out: what else may have gone wrong with
//! a frame that was sent; the repetitions make up for a lost one.
//!
//! A next hop is told personally: it is asked for its own address, from the virtual one, and answers to where it
//! believes the asker to be (IPv4: to the sender in the question, RFC 826; IPv6: to its neighbour cache, which the
//! question updated, RFC 4861 section 7.2.3).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sortie_core::model::DeviceName;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;

use super::arp::{Arp, Station};
use super::desk::Heard;
use super::ethernet::Mac;
use super::ndp::Discovery;
use super::responder::Responder;
use super::schedule::{Action, Schedule, Via};

/// 2000 frames a second and device: what the slowest queue on the way holds is not known.
const GAP: Duration = Duration::from_micros(500);
/// When nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Announces addresses that a [`Responder`] answers for, until dropped.
pub struct Announcer {
    shared: Arc<Shared>,
    driver: JoinHandle<()>,
}

struct Shared {
    responder: Responder,
    book: Mutex<Book>,
    changed: Notify,
    frames: AtomicU64,
}

struct Book {
    schedule: Schedule,
    /// Where next hops are.
    known: HashMap<IpAddr, Mac>,
}

impl Announcer {
    /// Announces nothing yet. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(responder: &Responder) -> Self {
        let heard = responder.listen();
        let book = Book { schedule: Schedule::new(GAP), known: HashMap::new() };
        let shared = Arc::new(Shared {
            responder: responder.clone(),
            book: Mutex::new(book),
            changed: Notify::new(),
            frames: AtomicU64::new(0),
        });
        let driver = tokio::spawn(drive(Arc::clone(&shared), heard));
        Self { shared, driver }
    }

    /// Announces from now on exactly these, the first one before this returns; what was announced in the same place before
    /// goes on as it was. To be called when they are answered for, because a device that is not answered on is not
    /// announced on either.
    pub fn set(&self, wanted: BTreeMap<IpAddr, Via>) {
        self.shared.book().schedule.set(wanted, Instant::now());
        self.shared.send_due();
        self.shared.changed.notify_one();
    }

    /// Announces everything on a device anew: to be called after it came up or got another address, and after
    /// [`Responder::refresh`].
    pub fn restart(&self, device: &DeviceName) {
        self.shared.book().schedule.restart(device, Instant::now());
        self.shared.changed.notify_one();
    }

    /// Whether the next hop's last answer to this address came to us: `None` while it was not asked for a second yet,
    /// and for what is not announced or has no next hop. It becomes `false` a second after an unanswered question.
    #[must_use]
    pub fn verified(&self, address: IpAddr) -> Option<bool> {
        self.shared.book().schedule.verified(address)
    }

    /// Frames sent since the start.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.shared.frames.load(Ordering::Relaxed)
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.shared.book().schedule.set(BTreeMap::new(), Instant::now());
        self.driver.abort();
    }
}

async fn drive(shared: Arc<Shared>, mut heard: broadcast::Receiver<Heard>) {
    loop {
        let wake = shared.send_due();
        tokio::select! {
            answer = heard.recv() => match answer {
                Ok(answer) => shared.book().learn(answer),
                Err(RecvError::Lagged(lost)) => log::debug!("answers of next hops not looked at count={lost}"),
                Err(RecvError::Closed) => return,
            },
            () = shared.changed.notified() => {}
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

impl Shared {
    /// Sends what is due and returns when there is more.
    fn send_due(&self) -> Instant {
        let now = Instant::now();
        let mut book = self.book();
        while let Some(action) = book.schedule.pop(now) {
            self.send(&action, &book.known);
        }
        book.schedule.wake().unwrap_or(now + IDLE)
    }

    fn send(&self, action: &Action, known: &HashMap<IpAddr, Mac>) {
        let (Action::Announce { device, .. } | Action::Ask { device, .. }) = action;
        let Some(desk) = self.responder.desk(device) else {
            return log::debug!("not announced, because the device is not served device={device}");
        };
        let own = desk.port.mac();
        let frames = match action {
            Action::Announce { address, .. } => announcements(own, *address),
            Action::Ask { address, next_hop, attempt, .. } => {
                // One that moved is found by asking everybody.
                let known = known.get(next_hop).filter(|_| *attempt == 1).copied();
                question(own, *address, (*next_hop, known)).into_iter().collect()
            }
        };
        for frame in frames {
            match desk.port.send(&frame) {
                Ok(()) => drop(self.frames.fetch_add(1, Ordering::Relaxed)),
                Err(error) => log::debug!("not announced device={device} error={error}"),
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn learn(&mut self, heard: Heard) {
        self.schedule.heard(heard.address, heard.neighbour);
        self.known.insert(heard.neighbour, heard.mac);
    }
}

fn announcements(own: Mac, address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => {
            let owner = Station { mac: own, address };
            vec![Arp::announcement(owner).frame(), Arp::unasked_reply(owner).frame()]
        }
        IpAddr::V6(address) => vec![Discovery::announcement(own, address).frame()],
    }
}

/// To the next hop itself if we know where it is. `None` if it is of another family.
fn question(own: Mac, address: IpAddr, (next_hop, known): (IpAddr, Option<Mac>)) -> Option<Vec<u8>> {
    match (address, next_hop) {
        (IpAddr::V4(address), IpAddr::V4(next_hop)) => {
            let mut arp = Arp::question(Station { mac: own, address }, next_hop);
            arp.header.destination = known.unwrap_or(arp.header.destination);
            Some(arp.frame())
        }
        (IpAddr::V6(address), IpAddr::V6(next_hop)) => {
            let mut message = Discovery::question(own, address, next_hop);
            if let Some(known) = known {
                message.header.destination = known;
                message.destination = next_hop;
            }
            Some(message.frame())
        }
        _ => None,
    }
}
