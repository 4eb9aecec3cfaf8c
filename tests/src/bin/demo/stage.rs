//! The node with its helper and the CNI chain, and the view of the server.
//!
//! Guarantees: pods are added and removed by `cnitool` with the reference plugins before ours. Leaves out: judging.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use serde_json::Value;
use sortie_testkit::helper::uninstall;
use sortie_testkit::lab::{ROUTERS, SERVER4, SERVER6};
use sortie_testkit::{Capture, Cni, Helper, Lab, Main, Network, kernel};

use crate::cast;
use crate::verdict::{Seen, Way};

/// Both families, as `ip` writes them.
pub(crate) const FAMILIES: [&str; 2] = ["-4", "-6"];

/// By what the far end recognises a flow: protocol, source port, whether it is IPv4.
pub(crate) type Key = (u8, u16, bool);

/// What makes up the play.
pub(crate) struct Stage<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) helper: Helper<'a>,
    pub(crate) cni: Cni<'a>,
    far: Capture,
}

impl<'a> Stage<'a> {
    /// Everything but the pods, with the helper ready.
    pub(crate) fn open(lab: &'a Lab) -> Result<Self> {
        let far = Capture::start(&lab.server)?;
        lab.manifest("world.yaml", &cast::manifests())?;
        lab.manifest("billing.yaml", &cast::billing("c"))?;
        let cni = Network::new(lab, Main::Bridge)?.portmap().write()?;
        Ok(Self { lab, helper: Helper::start(lab, &["--log-level", "info"])?, cni, far })
    }

    /// Packets that reached the server after the first `judged` captured ones, by flow and way; and how many
    /// were captured in all.
    pub(crate) fn sightings(&self, judged: usize) -> Result<(BTreeMap<Key, Seen>, usize)> {
        let packets = self.far.packets()?;
        let mut sightings: BTreeMap<Key, Seen> = BTreeMap::new();
        for captured in packets.iter().skip(judged).filter(|captured| captured.is_incoming) {
            let packet = &captured.packet;
            let router = ROUTERS.into_iter().find(|router| *router == captured.device);
            let is_for_server = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)].contains(&packet.destination);
            if let (true, Some(router)) = (is_for_server, router) {
                let key = (packet.protocol, packet.source_port, packet.source.is_ipv4());
                *sightings.entry(key).or_default().entry(Way { router, source: packet.source }).or_default() += 1;
            }
        }
        Ok((sightings, packets.len()))
    }

    /// Our rules in both families.
    pub(crate) fn rules(&self) -> Result<Vec<Value>> {
        let both = FAMILIES.map(|family| kernel::own_rules(&self.lab.node, family));
        Ok(both.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// Stops the helper, uninstalls, and says what is left of us.
    pub(crate) fn uninstall(mut self) -> Result<Vec<String>> {
        self.helper.stop()?;
        uninstall(self.lab)?;
        let mut left: Vec<String> = self.rules()?.iter().map(|rule| format!("rule {rule}")).collect();
        for family in FAMILIES {
            left.extend(kernel::own_routes(&self.lab.node, family)?.iter().map(|route| format!("route {route}")));
        }
        left.extend(kernel::own_table(&self.lab.node)?.map(|_| "nft table inet sortie".to_owned()));
        let folders = ["state", "data"].map(|name| self.lab.path(name)).into_iter().filter(|path| path.exists());
        left.extend(folders.map(|path| format!("folder {}", path.display())));
        Ok(left)
    }
}
