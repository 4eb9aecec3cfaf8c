//! Addresses of Services on the wire: answering for them and announcing them.
//!
//! Guarantees: only addresses that the kernel is programmed for are answered for; trouble with a device is logged once
//! and mended when the device comes back. Leaves out: which addresses those are ([`crate::node`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sortie_core::candidates::Answer;
use sortie_core::model::DeviceName;
use sortie_core::world::Device;
use sortie_kernel::KernelError;
use sortie_kernel::announce::{Announcer, Responder, Via};

use crate::node::chain;

type Devices = BTreeMap<DeviceName, Device>;
/// Number and state of the devices answered on.
type Known = BTreeMap<DeviceName, (u32, bool)>;

fn key(device: &Device) -> (u32, bool) {
    (device.index, device.up)
}

/// What is to be seen on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// What is answered for.
    pub(crate) answers: BTreeSet<Answer>,
    /// Devices on which there could be more at any moment.
    pub(crate) ready: BTreeSet<DeviceName>,
}

/// Who answers and announces.
pub(crate) struct Presence {
    responder: Responder,
    announcer: Announcer,
    shown: Shown,
    known: Known,
    trouble: BTreeSet<String>,
}

impl Presence {
    /// Answers for nothing yet; inside a runtime.
    pub(crate) fn start() -> Self {
        let responder = Responder::new();
        let announcer = Announcer::start(&responder);
        Self { responder, announcer, shown: Shown::default(), known: Known::new(), trouble: BTreeSet::new() }
    }

    /// Answers for exactly these; announces what is new, and everything on a device that came up.
    pub(crate) fn show(&mut self, shown: &Shown, devices: &Devices) {
        if *shown != self.shown {
            self.replace(shown);
        }
        let Shown { answers, ready } = shown;
        let used: BTreeSet<&DeviceName> = answers.iter().map(|answer| &answer.device).chain(ready).collect();
        let known: Known = used.iter().filter_map(|name| Some(((*name).clone(), key(devices.get(*name)?)))).collect();
        if known == self.known {
            return;
        }
        let refused = self.responder.refresh();
        let fresh = known.iter().filter(|(name, now)| now.1 && self.known.get(*name).is_some_and(|then| then != *now));
        fresh.for_each(|(name, _)| self.announcer.restart(name));
        self.known = known;
        self.tell(refused);
    }

    fn replace(&mut self, shown: &Shown) {
        let Shown { answers, ready } = shown;
        let mut by_device: BTreeMap<DeviceName, BTreeSet<IpAddr>> =
            ready.iter().map(|device| (device.clone(), BTreeSet::new())).collect();
        let mut announced = BTreeMap::new();
        for Answer { address, device, next_hop } in answers {
            by_device.entry(device.clone()).or_default().insert(*address);
            announced.entry(*address).or_insert_with(|| Via { device: device.clone(), next_hop: *next_hop });
        }
        // Neighbours are told before anything that may take time.
        let refused = if self.responder.set(by_device) {
            self.announcer.set(announced);
            self.responder.refresh()
        } else {
            let refused = self.responder.refresh();
            self.announcer.set(announced);
            refused
        };
        if *answers != self.shown.answers {
            log::info!("answering addresses={}", answers.len());
        }
        self.shown = shown.clone();
        self.tell(refused);
    }

    /// Each once, while it lasts.
    fn tell(&mut self, refused: Vec<KernelError>) {
        let now: BTreeSet<String> = refused.iter().map(|error| chain(error)).collect();
        now.difference(&self.trouble).for_each(|text| log::warn!("addresses are not answered for error={text}"));
        self.trouble.difference(&now).for_each(|text| log::info!("no longer: {text}"));
        self.trouble = now;
    }
}
