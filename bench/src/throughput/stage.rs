//! A cluster of three nodes with ours and one without.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use sortie_testkit::cluster::{Cluster, ClusterNode, manifests};
use sortie_testkit::{Namespace, poll};

use super::measure;

/// Nodes with ours.
const OURS: usize = 3;
/// The address of the Service.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 200);
/// Port of the Service.
const SERVICE_PORT: u16 = 5060;
/// Another own port of a pod.
const OTHER_PORT: u16 = 6060;
/// Longest time to agree on an owner.
const AGREE: Duration = Duration::from_secs(20);
/// All of a pod's other traffic leaves by the route, where the pod is.
const POLICY: &str = "---\napiVersion: sortie.dev/v1alpha1\nkind: EgressPolicy\n\
    metadata: {name: all, namespace: default}\nspec: {podSelector: {}, route: b}\n";
/// Features of a device.
const FEATURES: [&str; 3] = ["tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload"];

/// How a pod's packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the main table of a node without ours, masqueraded.
    Direct,
    /// By a route on the pod's node, with the node's address.
    Route,
    /// On the owner of the Service's address, with that.
    Owner,
    /// From another node through the tunnel to the owner.
    Tunnel,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Direct, Self::Route, Self::Owner, Self::Tunnel];
}

/// Whether devices cut and join segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offloads {
    /// As devices are made.
    On,
    /// Nowhere.
    Off,
}

/// A cluster that has agreed.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) offloads: Offloads,
    cluster: Cluster,
    owner: usize,
}

impl Stage {
    /// Builds it.
    ///
    /// # Errors
    /// When something does not start, or the nodes do not agree.
    pub(super) fn new(offloads: Offloads) -> Result<Self> {
        let mut cluster = Cluster::new(OURS + 1)?;
        cluster.manifest("all.yaml", &format!("{}{POLICY}", manifests(OURS)))?;
        (1..=OURS).try_for_each(|number| cluster.start(number))?;
        let without = &cluster.nodes[OURS].namespace;
        without.ip("route add default via 172.16.1.1")?;
        without
            .nft("table ip nat { chain post { type nat hook postrouting priority 100; oifname eth1 masquerade; }; }")?;
        let everybody: Vec<usize> = (1..=OURS).collect();
        let owner = cluster.await_owner(&everybody, AGREE)?;
        let stage = Self { offloads, cluster, owner };
        for way in Way::ALL {
            poll(AGREE, "a way out", || measure::is_open(&stage, way).then_some(()))?;
        }
        if offloads == Offloads::Off {
            stage.namespaces().into_iter().try_for_each(switch_off)?;
        }
        Ok(stage)
    }

    /// The pod that sends, its own port, and the address it is to arrive with.
    pub(super) fn sender(&self, way: Way) -> (&Namespace, u16, IpAddr) {
        let at = |number: usize| &self.cluster.nodes[number - 1];
        let other = self.owner % OURS + 1;
        match way {
            Way::Direct => (&at(OURS + 1).pod, OTHER_PORT, at(OURS + 1).outer()),
            Way::Route => (&at(self.owner).pod, OTHER_PORT, at(self.owner).outer()),
            Way::Owner => (&at(self.owner).pod, SERVICE_PORT, ADDRESS.into()),
            Way::Tunnel => (&at(other).pod, SERVICE_PORT, ADDRESS.into()),
        }
    }

    /// The far end.
    pub(super) fn server(&self) -> &Namespace {
        &self.cluster.server
    }

    fn namespaces(&self) -> Vec<&Namespace> {
        let Cluster { nodes, switch, router, server, .. } = &self.cluster;
        let of_nodes = nodes.iter().flat_map(|ClusterNode { namespace, pod, .. }| [namespace, pod]);
        of_nodes.chain([switch, router, server]).collect()
    }
}

/// On every device of a namespace.
fn switch_off(namespace: &Namespace) -> Result<()> {
    let links: Value = serde_json::from_str(&namespace.run("ip", &["-j", "link"])?)?;
    let names = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
    for device in names.filter(|name| *name != "lo") {
        for feature in FEATURES {
            // It fails where nothing is to be changed; what counts is read below.
            let _ = namespace.run("ethtool", &["-K", device, feature, "off"]);
        }
        let shown = namespace.run("ethtool", &["-k", device])?;
        let is_on = |feature: &&str| shown.lines().any(|line| line.starts_with(&format!("{feature}: on")));
        ensure!(!FEATURES.iter().any(is_on), "{device} keeps offloads: {shown}");
    }
    Ok(())
}
