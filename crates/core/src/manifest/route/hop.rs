//! Next hops of a route.

use crate::model::{NextHop, is_link_local};
use crate::reader::{Field, Read, name, network};

const HOPS_MAX: usize = 16;
const WEIGHT_MAX: u16 = 256;

/// 1..=16 next hops, no two of them equal.
pub(super) fn hops(spec: &Field<'_>) -> Read<Vec<NextHop>> {
    let field = spec.require("nextHops")?;
    let entries = field.items()?;
    if entries.is_empty() {
        return Err(field.fault("is empty", "add at least one next hop"));
    }
    let hops = spec.list("nextHops", HOPS_MAX, hop)?;
    for (index, entry) in entries.iter().enumerate() {
        let is_same = |other: &NextHop| (other.gateway, &other.device) == (hops[index].gateway, &hops[index].device);
        if let Some(first) = hops[..index].iter().position(is_same) {
            return Err(entry.fault(format!("is the same next hop as nextHops[{first}]"), "remove one of the two"));
        }
    }
    Ok(hops)
}

fn hop(field: &Field<'_>) -> Read<NextHop> {
    let field = field.clone().strict(&["gateway", "device", "weight", "backup"])?;
    let hop = NextHop {
        gateway: field.optional("gateway", network::host)?,
        device: field.optional("device", name::device)?,
        weight: field.optional("weight", |f| f.number(1..=WEIGHT_MAX))?.unwrap_or(1),
        backup: field.optional("backup", Field::boolean)?.unwrap_or_default(),
    };
    if hop.device.is_some() {
        return Ok(hop);
    }
    match hop.gateway {
        None => Err(field.fault("has neither gateway nor device", "name at least one of the two")),
        Some(gateway) if is_link_local(gateway) => {
            Err(field.fault(format!("{gateway} is link-local and has no device"), "name the device of this next hop"))
        }
        Some(_) => Ok(hop),
    }
}
