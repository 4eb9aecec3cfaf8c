//! The result of the plugins before us.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::error::Problem;

/// `prevResult`: its text, untouched, and the little we need to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrevResult {
    /// Byte for byte as it came.
    pub text: String,
    /// Addresses of the interface the command is about; at least one.
    pub addresses: Vec<IpAddr>,
    /// First interface outside a sandbox: the host's end; `None` when the pod is not reached through the host.
    pub host_interface: Option<String>,
}

/// Layouts 0.3.0 to 1.1.0; what we do not need may have any form.
#[derive(Deserialize)]
struct Shape {
    interfaces: Option<Vec<Interface>>,
    ips: Option<Vec<Ip>>,
}

#[derive(Deserialize)]
struct Interface {
    name: Option<String>,
    sandbox: Option<String>,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    interface: Option<i64>,
}

impl Interface {
    fn has_sandbox(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|s| !s.is_empty())
    }
}

impl PrevResult {
    pub(super) fn read(text: &str, interface: &str) -> Result<Self, Problem> {
        let shape: Shape = serde_json::from_str(text).map_err(|e| Problem::config("prevResult", e.to_string()))?;
        let interfaces = shape.interfaces.unwrap_or_default();
        let mut addresses = Vec::new();
        for (index, ip) in shape.ips.unwrap_or_default().iter().enumerate() {
            let at = |field: &str| format!("prevResult.ips[{index}].{field}");
            if !concerns(ip, &interfaces, interface).map_err(|reason| Problem::config(at("interface"), reason))? {
                continue;
            }
            let network: IpNetwork =
                ip.address.parse().map_err(|e| Problem::config(at("address"), format!("{:?}: {e}", ip.address)))?;
            if !addresses.contains(&network.ip()) {
                addresses.push(network.ip());
            }
        }
        if addresses.is_empty() {
            return Err(Problem::config("prevResult.ips", format!("no address of interface {interface}")));
        }
        let host_interface = interfaces.into_iter().find(|i| !i.has_sandbox()).and_then(|i| i.name);
        Ok(Self { text: text.to_owned(), addresses, host_interface })
    }
}

fn concerns(ip: &Ip, interfaces: &[Interface], name: &str) -> Result<bool, String> {
    let Some(index) = ip.interface else { return Ok(true) };
    let interface = usize::try_from(index).ok().and_then(|i| interfaces.get(i));
    let interface = interface.ok_or_else(|| format!("is {index}; there are {} interfaces", interfaces.len()))?;
    Ok(interface.has_sandbox() && interface.name.as_deref() == Some(name))
}
