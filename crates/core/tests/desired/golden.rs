//! The nft text of one small node, kept as a file so that a change of the datapath is seen in review.

use sortie_core::desired::Steering;
use sortie_core::nft::text;
use sortie_core::state::{NftChange, Rule};

use crate::fixture::{addresses, assignment, built, node, signalling};
use crate::vips::service;

#[test]
#[expect(clippy::disallowed_methods, reason = "the record is a file; the code under test touches none")]
fn the_table_of_a_small_node_reads_as_recorded() {
    let (mut world, facts) = node(signalling());
    let service = service("203.0.113.7");
    world.services.insert(service.name.clone(), service);
    let skeleton = built(&(world, facts));
    let member = skeleton.member(&addresses(), &assignment());
    let members = [member];
    let mode = skeleton.mode(members.iter(), Steering::Auto, 16);
    let desired = skeleton.compose(members.iter(), mode);
    let mut got = text(&NftChange::Replace(desired.state.nft.unwrap()));
    let rule = |r: &Rule| format!("# {}\n", serde_json::to_string(r).unwrap());
    got.extend(desired.state.rules.iter().map(rule));
    got.extend(
        desired
            .state
            .routes
            .iter()
            .map(|r| format!("# {} table {} metric {} {:?}\n", r.destination, r.table, r.metric, r.kind)),
    );
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/small-node.nft");
    let want = std::fs::read_to_string(file).unwrap_or_default();
    if want != got && std::env::var_os("SORTIE_BLESS").is_some() {
        std::fs::write(file, &got).unwrap();
        return;
    }
    assert_eq!(want, got, "SORTIE_BLESS=1 cargo test -p sortie-core --test desired records the new text");
}
