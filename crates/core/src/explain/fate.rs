//! Where a packet goes whose flow is known.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::why::described;
use super::{Check, Finding, Hop, Outcome, Scene, Way, word};
use crate::desired::{Exit, Lane};
use crate::ids::{
    EXIT_ADDRESS, EXIT_MAIN, EXIT_NONE, EXIT_TUNNEL, TABLE_MAIN, TABLE_NONE, TABLE_TUNNEL, TUNNEL_DEVICE,
};
use crate::model::{Family, ObjectName};
use crate::selection::{Account, PathKey, PathSource};
use crate::steering::Remote;

/// Whose address the packet leaves with.
#[derive(Clone, Debug)]
pub(super) enum Whose {
    Device,
    Pod,
    Service(ObjectName),
    Unchanged,
    Nobody,
}

/// What is known about the way of a packet.
pub(super) struct Fate {
    pub(super) outcome: Outcome,
    pub(super) summary: String,
    pub(super) way: Option<Way>,
    pub(super) source: Whose,
    pub(super) checks: Vec<Check>,
}

pub(super) fn fate(scene: &Scene<'_>, account: &Account, (far, family): (IpAddr, Family)) -> Fate {
    let mut checks = destination(scene, far);
    let mut fate = if let Some(network) = scene.skeleton.excluded().iter().find(|n| n.contains(far)) {
        let why = format!(
            "{far} is in {network}, which is never selected (networks of the cluster, link-local, multicast, broadcast)"
        );
        checks.push(Check::new("destination", Finding::Note, &why));
        main(format!("takes the main table: {why}"))
    } else if let Some(claim) = &account.winner {
        let closed = claim.problem.as_ref().map(ToString::to_string);
        Decided { scene, far, family }.by(&claim.flow.path, closed)
    } else {
        main("takes the main table: nothing selects it".to_owned())
    };
    checks.append(&mut fate.checks);
    fate.checks = checks;
    fate
}

/// kube-proxy translates packets to the address of a Service before they are looked at.
fn destination(scene: &Scene<'_>, far: IpAddr) -> Vec<Check> {
    let service = scene.world.services.values().find(|service| service.addresses.contains(&far));
    let note = |service: &crate::model::Service| {
        let name = &service.name;
        let message = format!(
            "{far} is the address of Service {name}: kube-proxy makes it that of a pod first, and then it is traffic of the cluster"
        );
        Check::new("destination", Finding::Note, message)
    };
    service.map(note).into_iter().collect()
}

fn main(why: String) -> Fate {
    let way = Way { table: TABLE_MAIN, node: String::new(), ..Way::default() };
    Fate { outcome: Outcome::MainTable, summary: why, way: Some(way), source: Whose::Unchanged, checks: Vec::new() }
}

fn dropped(check: &str, why: String) -> Fate {
    Fate {
        outcome: Outcome::Dropped,
        summary: format!("is dropped: {why}"),
        way: Some(Way { exit: EXIT_NONE, table: TABLE_NONE, ..Way::default() }),
        source: Whose::Nobody,
        checks: vec![Check::new(check, Finding::Fails, why)],
    }
}

/// A packet that a flow takes.
pub(super) struct Decided<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) far: IpAddr,
    pub(super) family: Family,
}

impl Decided<'_> {
    fn by(&self, path: &PathKey, closed: Option<String>) -> Fate {
        if *path == PathKey::Closed {
            return dropped("object", closed.unwrap_or_else(|| "its flow is closed".to_owned()));
        }
        let Some(number) = self.scene.skeleton.allocation.paths.get(path).copied() else {
            let why = format!("{} has no number on this node; `sortie-helper status` says why", described(path));
            return dropped("route", why);
        };
        let lacking = path.service().and_then(|service| self.without_address(service));
        let mut fate = match (lacking, self.scene.skeleton.remote.get(path)) {
            (Some(why), _) => Fate { way: None, ..dropped("owner", why) },
            (None, Some(remote)) => self.elsewhere(path, *remote),
            (None, None) => self.here(path),
        };
        if let Some(service) = path.service() {
            fate.checks.extend(self.owner(service));
        }
        if let Some(way) = &mut fate.way {
            way.path = number;
        }
        fate
    }

    fn here(&self, path: &PathKey) -> Fate {
        match path {
            PathKey::Closed => dropped("object", "its flow is closed".to_owned()),
            PathKey::Address { service, .. } if !self.scene.skeleton.owns(service) => self.unowned(service),
            PathKey::Address { service, route: None } => Fate {
                outcome: Outcome::Address,
                summary: format!("leaves by the main table with the address of Service {service}"),
                way: Some(Way {
                    table: TABLE_MAIN,
                    exit: EXIT_ADDRESS,
                    node: self.scene.node.to_owned(),
                    ..Way::default()
                }),
                source: Whose::Service(service.clone()),
                checks: Vec::new(),
            },
            PathKey::Address { service, route: Some(route) } => self.by_route(route, Whose::Service(service.clone())),
            PathKey::Route { route, source: PathSource::Device } => self.by_route(route, Whose::Device),
            PathKey::Route { route, source: PathSource::Pod } => self.by_route(route, Whose::Pod),
        }
    }

    fn by_route(&self, name: &str, source: Whose) -> Fate {
        let Some(exit) = self.scene.skeleton.exits.get(name) else {
            return dropped(
                "route",
                format!("route {name} has no table or exit on this node; `sortie-helper status` says why"),
            );
        };
        let unusable = self.unusable(exit);
        let hop_checks = unusable.iter().map(|hop| {
            let whose = hop.gateway.map_or_else(|| format!("dev {}", hop.device), |gateway| gateway.to_string());
            Check::new("nextHop", Finding::Note, format!("next hop {whose} is not used: {}", hop.why))
        });
        let mut fate = match exit.lanes.get(&self.family) {
            Some(Lane::Open(hops)) => self.open(exit, hops, source),
            Some(Lane::Main) => Fate {
                outcome: Outcome::MainTable,
                summary: format!(
                    "takes the main table: no next hop of route {name} can be used, and whenUnavailable is UseMainTable"
                ),
                way: Some(Way { route: name.to_owned(), exit: EXIT_MAIN, table: TABLE_MAIN, ..Way::default() }),
                source: Whose::Unchanged,
                checks: vec![Check::new("nextHop", Finding::Fails, self.why_closed(exit))],
            },
            Some(Lane::Closed) | None => {
                let way = Way { route: name.to_owned(), exit: EXIT_NONE, table: TABLE_NONE, ..Way::default() };
                Fate { way: Some(way), ..dropped("nextHop", self.why_closed(exit)) }
            }
        };
        fate.checks.extend(hop_checks);
        if let Some(way) = &mut fate.way {
            (way.unusable, way.node) = (unusable, self.scene.node.to_owned());
        }
        fate
    }

    fn open(&self, exit: &Exit, hops: &[crate::state::Hop], source: Whose) -> Fate {
        let direct = exit.connected.iter().filter(|(network, _)| network.contains(self.far));
        let next_hops: Vec<Hop> = match direct.max_by_key(|(network, _)| network.prefix()) {
            Some((_, device)) => vec![Hop { gateway: None, device: device.to_string(), weight: 1 }],
            None => hops
                .iter()
                .map(|h| Hop { gateway: h.gateway, device: h.device.to_string(), weight: h.weight })
                .collect(),
        };
        let devices: BTreeSet<String> = next_hops.iter().map(|hop| hop.device.clone()).collect();
        let named = devices.iter().cloned().collect::<Vec<_>>().join(" or ");
        Fate {
            outcome: Outcome::Route,
            summary: format!(
                "leaves by route {} (table {}, exit {}), device {named}",
                exit.route, exit.table, exit.number
            ),
            way: Some(Way {
                route: exit.route.clone(),
                table: exit.table,
                exit: exit.number,
                next_hops,
                ..Way::default()
            }),
            source,
            checks: Vec::new(),
        }
    }

    fn elsewhere(&self, path: &PathKey, remote: Remote) -> Fate {
        let node = self.node(remote.node);
        let hop = Hop { gateway: None, device: TUNNEL_DEVICE.to_owned(), weight: 1 };
        let source = match path {
            PathKey::Address { service, .. } => Whose::Service(service.clone()),
            PathKey::Route { source: PathSource::Pod, .. } => Whose::Pod,
            PathKey::Route { .. } | PathKey::Closed => Whose::Device,
        };
        let mut checks = vec![Check::new(
            "route",
            Finding::Note,
            format!("next hop and device are chosen on node {node}: ask there with `sortie-helper status`"),
        )];
        if let Some(exit) = path.route().and_then(|route| self.scene.skeleton.exits.get(route)).filter(|e| !e.is_open())
        {
            checks.push(Check::new("nextHop", Finding::Note, format!("not by this node: {}", self.why_closed(exit))));
        }
        Fate {
            outcome: Outcome::Tunnel,
            summary: format!("leaves by node {node}, through the tunnel {TUNNEL_DEVICE}: {}", described(path)),
            way: Some(Way {
                route: path.route().unwrap_or_default().to_owned(),
                table: TABLE_TUNNEL,
                exit: EXIT_TUNNEL,
                node,
                next_hops: vec![hop],
                ..Way::default()
            }),
            source,
            checks,
        }
    }

    fn node(&self, number: u16) -> String {
        let named = self.scene.world.nodes.values().find(|node| node.number == Some(number));
        named.map_or_else(|| format!("number {number}"), |node| node.name.clone())
    }

    fn unowned(&self, service: &ObjectName) -> Fate {
        let why = match self.scene.owners.get(service) {
            Some(owner) if owner == self.scene.node => {
                format!("this node owns the address of Service {service} and does not carry it yet")
            }
            Some(owner) => format!(
                "node {owner} owns the address of Service {service}, and nothing can be sent there: it is not heard, has no number, or a kernel of the two cannot address frames (`sortie-helper status`, the helper's log)"
            ),
            None => format!(
                "nobody owns the address of Service {service}; the condition Owned of `sortie-helper status` says why"
            ),
        };
        dropped("owner", why)
    }

    fn owner(&self, service: &ObjectName) -> Option<Check> {
        let owner = self.scene.owners.get(service)?;
        Some(Check::new("owner", Finding::Ok, format!("node {owner} owns the address of Service {service}")))
    }

    /// A Service that lacks an address of the packet's family.
    fn without_address(&self, service: &ObjectName) -> Option<String> {
        let addresses = self.scene.world.services.get(service).map(|s| s.addresses.as_slice()).unwrap_or_default();
        let has_one = addresses.iter().any(|address| Family::of(*address) == self.family);
        let family = word(self.family);
        (!has_one).then(|| {
            format!("Service {service} has no {family} address: give it one, or leave {family} out with sortie.dev/egress-families")
        })
    }
}
