//! `AddressPool`.
//!
//! Guarantees: a range has two ends of one family, in order. Leaves out: overlaps with other pools.

use std::net::IpAddr;

use super::{meta, route};
use crate::model::{AddressPool, ObjectKey};
use crate::reader::{ENTRIES_MAX, Field, NETWORKS_MAX, Read, name, network, selector};

/// The pool.
pub(super) fn pool(key: &ObjectKey, field: &Field<'_>) -> Read<AddressPool> {
    let meta = meta::with_annotations(field, &[])?;
    let spec = route::spec(field, &["addresses", "devices", "allowedNamespaces", "nodeSelector"])?;
    let addresses = spec.list("addresses", NETWORKS_MAX, range)?;
    if addresses.is_empty() {
        let missing = spec.require("addresses")?;
        return Err(missing.fault("is empty", "add a range FIRST-LAST or a CIDR"));
    }
    Ok(AddressPool {
        name: key.name.name.clone(),
        meta,
        addresses,
        devices: spec.list("devices", ENTRIES_MAX, name::device)?,
        allowed_namespaces: selector::allowed_namespaces(&spec.require("allowedNamespaces")?)?,
        node_selector: spec.optional("nodeSelector", selector::selector)?,
    })
}

fn range(field: &Field<'_>) -> Read<(IpAddr, IpAddr)> {
    let text = field.text()?;
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => {
            let end = |text: &str| network::address_text(field.path(), text.trim());
            (end(first)?, end(last)?)
        }
        None => {
            let network = network::network(field)?;
            (network.network(), network.broadcast())
        }
    };
    if first.is_ipv4() != last.is_ipv4() {
        return Err(field.fault(format!("{text:?} mixes IPv4 and IPv6"), "write one range per family"));
    }
    if first > last {
        return Err(field.fault(format!("{text:?} ends before it starts"), format!("write {last}-{first}")));
    }
    match [first, last].into_iter().find_map(|end| Some((end, network::unusable(end)?))) {
        None => Ok((first, last)),
        Some((end, what)) => {
            Err(field.fault(format!("{text:?} holds {end}, {what}"), "use addresses of hosts on the wire"))
        }
    }
}
