//! The kernel's own limit: as many objects of the same kinds in one go, with the tools everybody has.
//!
//! Guarantees: one transaction of `nft` and one batch of `ip` for each family of objects, in a namespace of their own, with
//! nothing to decide. Leaves out: the words of the objects, which are shorter than ours.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use sortie_testkit::Namespace;

use super::changes::Changes;

/// Time of both tools, from start to exit; zero for no objects.
pub(crate) fn load(namespace: &Namespace, changes: &Changes) -> Result<Duration> {
    namespace.nft(&format!("{TABLE}{}", tables(changes, Stage::Before)))?;
    namespace.ip(&routes(changes, Stage::Before))?;
    let (script, batch) = (tables(changes, Stage::Measured), routes(changes, Stage::Measured));
    let start = Instant::now();
    if !script.is_empty() {
        namespace.nft(&script)?;
    }
    namespace.ip(&batch)?;
    let took = start.elapsed();
    namespace.nft("delete table inet peer")?;
    namespace.ip("route flush table 99")?;
    Ok(took)
}

const TABLE: &str = "table inet peer {\n map m { type ipv4_addr : verdict; }\n chain c { }\n chain r { }\n}\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What will be removed.
    Before,
    Measured,
}

fn tables(changes: &Changes, stage: Stage) -> String {
    let mut script = String::new();
    let old = elements(198, changes.elements.removed);
    let chains = 0..changes.chains.removed;
    match stage {
        Stage::Before => {
            list(&mut script, "add", &old);
            script.extend(chains.map(|number| format!("add chain inet peer o{number}\n")));
        }
        Stage::Measured => {
            let rule = |port| format!("add rule inet peer r meta l4proto udp th sport {} accept\n", port % 65_536);
            script.extend((0..changes.chains.added).map(rule));
            list(&mut script, "add", &elements(10, changes.elements.added));
            list(&mut script, "delete", &old);
            script.extend(chains.map(|number| format!("delete chain inet peer o{number}\n")));
        }
    }
    script
}

fn list(script: &mut String, verb: &str, elements: &[String]) {
    if !elements.is_empty() {
        let _ = writeln!(script, "{verb} element inet peer m {{ {} }}", elements.join(", "));
    }
}

fn elements(net: u8, count: usize) -> Vec<String> {
    addresses(net, count).map(|address| format!("{address} : goto c")).collect()
}

fn routes(changes: &Changes, stage: Stage) -> String {
    let lines = |verb: &str, net: u8, count: usize| -> String {
        addresses(net, count).map(|address| format!("route {verb} blackhole {address} table 99\n")).collect()
    };
    let old = changes.routes.removed;
    match stage {
        Stage::Before => lines("add", 198, old),
        Stage::Measured => lines("add", 10, changes.routes.added) + &lines("del", 198, old),
    }
}

fn addresses(net: u8, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |i| format!("{net}.{}.{}.{}", i / 65_536, i / 256 % 256, i % 256))
}
