//! The nft text of one small node, kept as a file so that a change of the datapath is seen in review.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sortie_core::desired::{Peering, Skeleton, Steering};
use sortie_core::model::{ObjectName, Service};
use sortie_core::nft::text;
use sortie_core::selection::{Assignment, Flow, PathKey};
use sortie_core::state::{NftChange, Rule};
use sortie_core::steering::Peers;

use crate::fixture::{addresses, assignment, built, built_beside, node, signalling};
use crate::vips::service;

#[test]
fn the_table_of_a_small_node_reads_as_recorded() {
    let (mut world, facts) = node(signalling());
    let service = service("203.0.113.7");
    world.services.insert(service.name.clone(), service);
    recorded("small-node.nft", &built(&(world, facts)), &[(addresses().to_vec(), assignment())]);
}

#[test]
fn the_tables_of_a_node_beside_others_read_as_recorded() {
    let (mut world, facts) = node(signalling());
    let (here, there) = (service("203.0.113.7"), elsewhere(service("203.0.113.8")));
    let path = PathKey::Address { service: there.name.clone(), route: Some("signalling".to_owned()) };
    let peering = Peering {
        number: 1,
        local: "10.10.0.11".parse().unwrap(),
        peers: Peers {
            addresses: BTreeMap::from([(2, "10.10.0.12".parse().unwrap()), (300, "10.10.0.13".parse().unwrap())]),
            offers: BTreeMap::from([(2, BTreeMap::from([(path.clone(), 9)]).into())]),
            owners: BTreeMap::from([(there.name.clone(), 2)]),
        },
        before: BTreeMap::new(),
        passing: BTreeSet::new(),
    };
    world.services.extend([here, there].map(|service| (service.name.clone(), service)));
    let one = assignment();
    let sip = one.flows.iter().take(1).map(|flow| Flow { path: path.clone(), ..flow.clone() }).collect();
    let other = (vec!["10.244.1.8".parse().unwrap()], Assignment { flows: sip });
    let pods = [(addresses().to_vec(), one), other];
    recorded("node-beside-others.nft", &built_beside(&(world, facts), Some(&peering)), &pods);
}

fn elsewhere(service: Service) -> Service {
    Service { name: ObjectName { name: "elsewhere".to_owned(), ..service.name.clone() }, ..service }
}

#[expect(clippy::disallowed_methods, reason = "the record is a file; the code under test touches none")]
fn recorded(name: &str, skeleton: &Skeleton, pods: &[(Vec<IpAddr>, Assignment)]) {
    let members: Vec<_> = pods.iter().map(|(addresses, assignment)| skeleton.member(addresses, assignment)).collect();
    let mode = skeleton.mode(members.iter(), Steering::Auto, 16);
    let desired = skeleton.compose(members.iter(), mode);
    let tables = desired.state.nft.into_iter().chain(desired.state.frames);
    let mut got: String = tables.map(|table| text(&NftChange::Replace(table))).collect();
    let rule = |r: &Rule| format!("# {}\n", serde_json::to_string(r).unwrap());
    got.extend(desired.state.rules.iter().map(rule));
    got.extend(
        desired
            .state
            .routes
            .iter()
            .map(|r| format!("# {} table {} metric {} {:?}\n", r.destination, r.table, r.metric, r.kind)),
    );
    let file = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    let want = std::fs::read_to_string(&file).unwrap_or_default();
    if want != got && std::env::var_os("SORTIE_BLESS").is_some() {
        std::fs::write(&file, &got).unwrap();
        return;
    }
    assert_eq!(want, got, "SORTIE_BLESS=1 cargo test -p sortie-core --test desired records the new text");
}
