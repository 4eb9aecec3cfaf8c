//! `ServiceOutboundRoute`.
//!
//! Guarantees: every rule that one route can show by itself. Leaves out: whether a gateway lies in the
//! cluster, and whether a table is taken.

mod hop;

use super::meta;
use crate::ids::TABLE_RESERVED;
use crate::model::{Family, Health, HealthMode, NextHop, ObjectKey, ServiceOutboundRoute, WhenUnavailable};
use crate::reader::{Field, NETWORKS_MAX, Read, network, selector};

const FIELDS: [&str; 9] = [
    "nextHops",
    "destinations",
    "exceptDestinations",
    "nodeSelector",
    "allowedNamespaces",
    "whenUnavailable",
    "health",
    "mtu",
    "tableId",
];
const MODES: [(&str, HealthMode); 3] =
    [("None", HealthMode::None), ("Neighbour", HealthMode::Neighbour), ("Icmp", HealthMode::Icmp)];
const UNAVAILABLE: [(&str, WhenUnavailable); 2] =
    [("Drop", WhenUnavailable::Drop), ("UseMainTable", WhenUnavailable::UseMainTable)];
const INTERVAL_DEFAULT: u32 = 1000;
const FAILURES_DEFAULT: u32 = 3;
/// `RT_TABLE_UNSPEC`, `RT_TABLE_DEFAULT`, `RT_TABLE_MAIN`, `RT_TABLE_LOCAL` (`rtnetlink(7)`).
const TABLES_OF_THE_KERNEL: [u32; 4] = [0, 253, 254, 255];

/// The route.
pub(super) fn route(key: &ObjectKey, field: &Field<'_>) -> Read<ServiceOutboundRoute> {
    let meta = meta::with_annotations(field, &[])?;
    let spec = spec(field, &FIELDS)?;
    let next_hops = hop::hops(&spec)?;
    serve(&spec, &next_hops)?;
    Ok(ServiceOutboundRoute {
        name: key.name.name.clone(),
        meta,
        next_hops,
        destinations: spec.list("destinations", NETWORKS_MAX, network::network)?,
        except_destinations: spec.list("exceptDestinations", NETWORKS_MAX, network::network)?,
        node_selector: spec.optional("nodeSelector", selector::selector)?,
        allowed_namespaces: selector::allowed_namespaces(&spec.require("allowedNamespaces")?)?,
        when_unavailable: spec
            .optional("whenUnavailable", |f| f.choice(&UNAVAILABLE))?
            .unwrap_or(WhenUnavailable::Drop),
        health: health(&spec)?,
        mtu: spec.optional("mtu", |f| f.number(1280..=65535))?,
        table_id: spec.optional("tableId", table)?,
        given_table: given_table(field),
    })
}

/// What nobody could have given is nothing.
fn given_table(field: &Field<'_>) -> Option<u32> {
    table(&field.get("status")?.get("tableId")?).ok()
}

/// `spec` of a kind of ours, with no other fields than `known`; `status` is somebody else's.
pub(super) fn spec<'a>(field: &Field<'a>, known: &[&str]) -> Read<Field<'a>> {
    let document = field.clone().strict(&["apiVersion", "kind", "metadata", "spec", "status"])?;
    document.require("spec")?.strict(known)
}

/// Every destination needs a next hop of its family; one without gateway serves both.
fn serve(spec: &Field<'_>, hops: &[NextHop]) -> Read<()> {
    let serves = |family| hops.iter().any(|hop| hop.gateway.is_none_or(|gateway| Family::of(gateway) == family));
    let check = |field: &Field<'_>| {
        let network = network::network(field)?;
        if serves(Family::of_network(network)) {
            return Ok(());
        }
        let remedy = "add a next hop of this family or remove the destination";
        Err(field.fault(format!("no next hop can serve {network}, which is of another family"), remedy))
    };
    spec.list("destinations", NETWORKS_MAX, check).map(drop)
}

fn health(spec: &Field<'_>) -> Read<Health> {
    let none = Health {
        mode: HealthMode::None,
        interval_milliseconds: INTERVAL_DEFAULT,
        failures: FAILURES_DEFAULT,
        target: None,
    };
    let Some(field) = spec.get("health") else { return Ok(none) };
    let field = field.strict(&["mode", "intervalMilliseconds", "failures", "target"])?;
    let interval = field.optional("intervalMilliseconds", |f| f.number(100..=60_000))?;
    Ok(Health {
        mode: field.optional("mode", |f| f.choice(&MODES))?.unwrap_or(HealthMode::Neighbour),
        interval_milliseconds: interval.unwrap_or(INTERVAL_DEFAULT),
        failures: field.optional("failures", |f| f.number(1..=10))?.unwrap_or(FAILURES_DEFAULT),
        target: field.optional("target", network::host)?,
    })
}

fn table(field: &Field<'_>) -> Read<u32> {
    let id = field.number(0..=u32::MAX)?;
    let (first, last) = TABLE_RESERVED;
    if TABLES_OF_THE_KERNEL.contains(&id) {
        return Err(field.fault(format!("{id} is a table of the kernel"), "use another table, or leave it out"));
    }
    if (first..=last).contains(&id) {
        let message = format!("{id} is one of the tables {first} to {last} that Sortie keeps for itself");
        return Err(field.fault(message, "use another table, or leave it out"));
    }
    Ok(id)
}
