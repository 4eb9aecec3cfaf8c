//! What keeps a node from doing its part, judged from facts.
//!
//! Guarantees: a finding names what was seen, what it means and what to do; nothing is said of what was not seen, except
//! that it was not. Leaves out: reading the facts.

mod cni;
mod firewall;
mod marks;
mod node;
mod routing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cni::install::Files;
use crate::ids::Numbers;
use crate::model::{DeviceName, Family};
use crate::world::Device;

/// A fact, or why it could not be seen.
pub type Seen<T> = Result<T, String>;

/// What was seen on a node.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Marks and tables the helper is to use.
    pub numbers: Numbers,
    /// `uname -r`.
    pub kernel: String,
    /// What `nft --version` prints, or why it does not run.
    pub nft: Seen<String>,
    /// Whether program and kernel take a table of ours.
    pub table: Seen<()>,
    /// Whether they take a chain at the egress of a device.
    pub egress: Seen<()>,
    /// Values of switches, `net/ipv4/ip_forward` for example.
    pub switches: BTreeMap<String, String>,
    /// Devices.
    pub devices: Seen<BTreeMap<DeviceName, Device>>,
    /// Devices and families of next hops in our tables.
    pub exits: Seen<BTreeSet<(DeviceName, Family)>>,
    /// Whether a table of ours is loaded.
    pub is_loaded: bool,
    /// Rules of others.
    pub rules: Seen<Vec<ForeignRule>>,
    /// Tables of ours in which others have routes.
    pub foreign_tables: Seen<BTreeSet<u32>>,
    /// What `nft -j list ruleset` prints.
    pub ruleset: Seen<Value>,
    /// What `iptables-save` and `ip6tables-save` print, by program.
    pub iptables: BTreeMap<String, Seen<String>>,
    /// Configuration of the CNI.
    pub network: Seen<Files>,
    /// Whether the plugin lies where the configuration looks for it.
    pub plugin: Seen<Plugin>,
    /// Settings of systemd-networkd, the last wins; nothing when it does not run.
    pub networkd: Seen<Option<Vec<String>>>,
    /// Whether the helpers' key can be used.
    pub key: Seen<Result<(), String>>,
    /// The helper's status.
    pub helper: Seen<Status>,
}

/// The plugin's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// The one that belongs to this version.
    Same,
    /// Another one.
    Other,
    /// None.
    Missing,
}

/// What a running helper says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why it is not ready, if so.
    pub not_ready: Option<String>,
    /// Next hops that cannot be used.
    pub unusable: Vec<String>,
    /// Services whose addresses nobody owns.
    pub unowned: Vec<String>,
}

/// A policy rule that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRule {
    /// Family.
    pub family: Family,
    /// Priority.
    pub priority: u32,
    /// Table it looks up; 0 = none.
    pub table: u32,
    /// Whether every packet meets it and no route of its table is left out.
    pub is_for_all: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Selected traffic does not work.
    Error,
    /// It may not work, or not always.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The check.
    pub check: String,
    /// How bad.
    pub severity: Severity,
    /// What was seen.
    pub message: String,
    /// What it means.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    fn new(severity: Severity, message: impl Into<String>, (meaning, remedy): (&str, &str)) -> Self {
        let (message, meaning, remedy) = (message.into(), meaning.to_owned(), remedy.to_owned());
        Self { check: String::new(), severity, message, meaning, remedy }
    }
}

/// The whole answer; stable for scripts: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// Whether no finding is an error.
    pub ok: bool,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Checks that were made.
    pub checked: Vec<String>,
    /// Checks that could not be made, and why.
    pub not_checked: BTreeMap<String, String>,
}

type Outcome = Seen<Vec<Finding>>;
type Judge = fn(&Facts) -> Outcome;

/// Every check by its name.
const CHECKS: [(&str, Judge); 16] = [
    ("kernel", node::kernel),
    ("nft", node::nft),
    ("table", node::table),
    ("egress", node::egress),
    ("forwarding", node::forwarding),
    ("sourceCheck", node::source_check),
    ("conntrack", node::conntrack),
    ("mtu", node::mtu),
    ("marks", marks::check),
    ("rules", routing::rules),
    ("tables", routing::tables),
    ("networkd", routing::networkd),
    ("forward", firewall::check),
    ("cni", cni::check),
    ("peerKey", node::key),
    ("helper", node::helper),
];

/// Judges the facts.
#[must_use]
pub fn judge(facts: &Facts) -> Report {
    let mut report = Report::default();
    for (name, check) in CHECKS {
        match check(facts) {
            Ok(found) => {
                report.checked.push(name.to_owned());
                report.findings.extend(found.into_iter().map(|finding| Finding { check: name.to_owned(), ..finding }));
            }
            Err(why) => drop(report.not_checked.insert(name.to_owned(), why)),
        }
    }
    report.findings.sort_by_key(|finding| finding.severity);
    report.ok = report.findings.iter().all(|finding| finding.severity != Severity::Error);
    report
}

impl Facts {
    fn switch(&self, name: &str) -> Option<u64> {
        self.switches.get(name)?.trim().parse().ok()
    }

    /// Whether Sortie works here already, or has.
    fn is_in_use(&self) -> bool {
        self.is_loaded || self.helper.is_ok()
    }
}
