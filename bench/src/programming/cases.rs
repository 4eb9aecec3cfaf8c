//! What is changed, and how the kernel looks afterwards, as `ip` and `nft` tell it.

use anyhow::Result;
use sortie_testkit::{Lab, kernel};

use super::objects::{self, Variant};
use super::stage::{Outcome, Removals, Stage};

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    /// Another gateway for the route of all pods.
    Route,
    /// Other ports in the policy of all pods.
    Policy,
    /// Everything of ours is removed from the kernel by somebody else.
    Resync,
    /// The helper starts, and the kernel holds nothing of ours.
    Boot,
    /// The helper starts, and the kernel is as it should be.
    Restart,
    /// Other addresses for all Services.
    Addresses,
    /// The node becomes the owner of all addresses.
    Owner,
}

impl Case {
    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Route => "route: another gateway",
            Self::Policy => "policy: other ports",
            Self::Resync => "resync: all of ours was removed",
            Self::Boot => "helper starts, nothing there",
            Self::Restart => "helper starts, all there; until ready",
            Self::Addresses => "Services: other addresses",
            Self::Owner => "node becomes owner",
        }
    }

    /// Does it once, with so many pods or Services; `variant` is in force.
    pub(crate) fn run(self, stage: &mut Stage<'_>, (count, variant): (usize, Variant)) -> Result<Outcome> {
        let (lab, next) = (stage.lab, variant.other());
        match self {
            Self::Route => {
                stage.measure(Removals::Ours, |s| s.source.edit(&objects::route(next)), || has_gateway(lab, next))
            }
            Self::Policy => {
                stage.measure(Removals::Ours, |s| s.source.edit(&objects::policy(next)), || selects(lab, count, next))
            }
            Self::Resync => repaired(stage, |_| Ok(()), |stage| remove_all(stage.lab)),
            Self::Boot => repaired(stage, without_helper, |stage| stage.helper.restart()),
            Self::Restart => stage.restart(),
            Self::Addresses => {
                let services = objects::services(count, next);
                let act = |s: &mut Stage<'_>| s.source.create_all("services.yaml", &services);
                stage.measure(Removals::Ours, act, || has_addresses(lab, count, next))
            }
            Self::Owner => {
                let give_up = |s: &mut Stage<'_>| s.source.edit(&objects::pool(Variant::Second));
                stage.measure(Removals::Ours, give_up, || owns(lab, 0))?;
                let own = |s: &mut Stage<'_>| s.source.edit(&objects::pool(Variant::First));
                stage.measure(Removals::Ours, own, || owns(lab, count))
            }
        }
    }
}

/// Prepares, then measures from the moment at which `act` begins until the kernel is as it was before both.
fn repaired(
    stage: &mut Stage<'_>,
    prepare: impl FnOnce(&mut Stage<'_>) -> Result<()>,
    act: impl FnOnce(&mut Stage<'_>) -> Result<()>,
) -> Result<Outcome> {
    let (lab, before) = (stage.lab, kernel::own_state(&stage.lab.node)?);
    prepare(stage)?;
    stage.measure(Removals::OfSomebodyElse, act, || Ok(kernel::own_state(&lab.node)? == before))
}

fn without_helper(stage: &mut Stage<'_>) -> Result<()> {
    stage.helper.kill9()?;
    remove_all(stage.lab)
}

/// Our table, rules and routes.
fn remove_all(lab: &Lab) -> Result<()> {
    let routes = |family: &str| format!("ip {family} route flush table all protocol 155");
    let rules = |family: &str| format!("ip {family} rule flush protocol 155");
    let all = [rules("-4"), rules("-6"), routes("-4"), routes("-6"), "nft delete table inet sortie".to_owned()];
    lab.node.run("sh", &["-c", &all.join("; ")]).map(drop)
}

fn has_gateway(lab: &Lab, variant: Variant) -> Result<bool> {
    let routes = kernel::own_routes(&lab.node, "-4")?;
    let is_by = |variant| routes.iter().any(|route| route["gateway"] == objects::gateway(variant).as_str());
    Ok(is_by(variant) && !is_by(variant.other()))
}

/// Every pod is selected, by its new ports only.
pub(crate) fn selects(lab: &Lab, count: usize, variant: Variant) -> Result<bool> {
    let table = kernel::own_table(&lab.node)?.unwrap_or_default();
    let objects = || table["nftables"].as_array().into_iter().flatten();
    let rules: String = objects().filter_map(|object| object.get("rule")).map(ToString::to_string).collect();
    let names = |variant| rules.contains(&format!("\"right\":{}", objects::port(variant)));
    let pods = objects().filter_map(|object| object.get("map")).find(|map| map["name"] == "sel4");
    let pods = pods.and_then(|map| map["elem"].as_array()).map_or(0, Vec::len);
    Ok(names(variant) && !names(variant.other()) && pods == count)
}

fn has_addresses(lab: &Lab, count: usize, variant: Variant) -> Result<bool> {
    let addresses = kernel::elements(&lab.node, "vips4")?;
    let first = format!("\"{}\"", objects::address(0, variant));
    Ok(addresses.len() == count && addresses.contains(&first))
}

/// Addresses with which this node may send.
pub(crate) fn owns(lab: &Lab, count: usize) -> Result<bool> {
    Ok(kernel::elements(&lab.node, "kvip4")?.len() == count)
}
