//! Core `Node`.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::meta;
use crate::annotation::{PATH, PREFIX};
use crate::model::{Meta, Node, ObjectKey};
use crate::reader::{ENTRIES_MAX, Fault, Field, NETWORKS_MAX, Read, network};

/// The node.
pub(super) fn node(key: &ObjectKey, field: &Field<'_>) -> Read<Node> {
    let meta = meta::with_annotations(field, &[Node::NUMBER])?;
    Ok(Node {
        name: key.name.name.clone(),
        number: number(&meta).map_err(|fault| meta::within(field, fault))?,
        meta,
        pod_cidrs: pod_cidrs(field)?,
        addresses: addresses(field)?,
    })
}

fn number(meta: &Meta) -> Read<Option<u16>> {
    let name = format!("{PREFIX}{}", Node::NUMBER);
    let Some(text) = meta.annotations.get(&name) else { return Ok(None) };
    let number = text.parse::<u16>().ok().filter(|n| *n > 0 && text.bytes().all(|b| b.is_ascii_digit()));
    let refused = || {
        let message = format!("{text:?} is not a node number");
        Fault::invalid(&format!("{PATH}.{name}"), message, "use a whole number from 1 to 65535, each on one node only")
    };
    number.ok_or_else(refused).map(Some)
}

fn pod_cidrs(field: &Field<'_>) -> Read<Vec<IpNetwork>> {
    let Some(spec) = field.get("spec") else { return Ok(Vec::new()) };
    let spec = spec.lenient()?;
    let several = spec.list("podCIDRs", ENTRIES_MAX, network::network)?;
    if !several.is_empty() {
        return Ok(several);
    }
    Ok(spec.optional("podCIDR", network::network)?.into_iter().collect())
}

fn addresses(field: &Field<'_>) -> Read<Vec<IpAddr>> {
    let Some(status) = field.get("status") else { return Ok(Vec::new()) };
    let found = status.lenient()?.list("addresses", NETWORKS_MAX, |entry| {
        let entry = entry.clone().lenient()?;
        let is_ours = matches!(entry.require("type")?.text()?, "InternalIP" | "ExternalIP");
        if !is_ours {
            return Ok(None);
        }
        network::address(&entry.require("address")?).map(Some)
    })?;
    Ok(found.into_iter().flatten().collect())
}
