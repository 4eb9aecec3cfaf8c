//! Two networks as bridges of one namespace: `lan` and `out`.
//!
//! Guarantees: the name of a port tells who is plugged there. Leaves out: addresses.

use anyhow::Result;

use crate::net::{Namespace, Net};

/// The namespace with both bridges.
pub(crate) fn new(net: &Net) -> Result<Namespace> {
    let switch = net.namespace("switch")?;
    switch.ip("link add lan type bridge\nlink add out type bridge\nlink set dev lan up\nlink set dev out up")?;
    Ok(switch)
}

/// A new device of somebody's namespace, up and plugged into a port of a bridge. What was plugged there is taken out.
pub(crate) fn plug(switch: &Namespace, (port, bridge): (&str, &str), to: (&Namespace, &str)) -> Result<()> {
    // The devices of a namespace that was removed go a little later.
    let _ = switch.run("ip", &["link", "del", "dev", port]);
    switch.wire(port, to)?;
    switch.ip(&format!("link set dev {port} master {bridge}"))
}
