//! The contract of `Platform`: one suite on the fake and on the real kernel, and what only the real one can
//! show. Needs root; every test runs in network namespaces of its own. The truth is read with `ip -j`, `nft -j`
//! and `conntrack -L`, not with our own readers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

mod announce;
mod conntrack;
mod events;
mod lookup;
mod nft;
mod probes;
mod replication;
mod routing;
mod suite;
mod support;
mod tunnel;

use sortie_core::model::DeviceName;
use sortie_core::world::{Device, NodeFacts};
use sortie_kernel::fake::Fake;

/// The fake with the devices that [`support::in_namespace`] makes.
fn fake() -> Fake {
    let device = |index| Device { index, up: true, mtu: 1500, addresses: Vec::new() };
    let devices = [("a", 2), ("b", 3)].map(|(name, index)| (DeviceName(name.into()), device(index)));
    Fake { facts: NodeFacts { devices: devices.into(), ..NodeFacts::default() }, ..Fake::default() }
}

macro_rules! contract {
    ($($case:ident)*) => {
        mod on_the_fake {
            $(#[test]
            fn $case() {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(crate::suite::$case(&mut crate::fake()));
            })*
        }
        mod on_the_kernel {
            $(#[test]
            fn $case() {
                crate::support::in_namespace(async |node| crate::suite::$case(&mut node.linux()).await);
            })*
        }
    };
}

contract! {
    rules_are_added_and_removed_any_number_of_times
    a_wider_rule_neither_hides_nor_takes_a_narrower_one
    routes_are_created_and_removed_any_number_of_times
    a_route_replaces_what_stands_at_its_place
    a_removed_route_leaves_other_metrics
    a_route_through_a_missing_device_is_refused
    a_table_is_replaced_edited_and_deleted
    elements_change_in_one_transaction
    an_element_that_leads_nowhere_is_refused_and_changes_nothing
    elements_of_an_absent_table_are_absent
    src_valid_mark_is_set_and_put_back
    the_devices_are_among_the_facts
    a_tunnel_is_made_changed_and_removed_any_number_of_times
    what_hangs_on_the_tunnel_goes_with_it
    the_table_of_frames_stands_beside_the_other
}
