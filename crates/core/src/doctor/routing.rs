//! Rules and tables of others, and who removes ours.

use super::{Facts, Finding, ForeignRule, Outcome, Severity};
use crate::ids::{Numbers, PRIORITY_MAIN, PRIORITY_RANGE, TABLE_MAIN, TABLE_RESERVED};
use crate::model::Family;

/// Settings of systemd-networkd that must be off.
const SETTINGS: [&str; 2] = ["ManageForeignRoutingPolicyRules", "ManageForeignRoutes"];
/// What systemd takes for no.
const NO: [&str; 6] = ["no", "n", "false", "f", "off", "0"];

pub(super) fn rules(facts: &Facts) -> Outcome {
    let rules = facts.rules.as_ref().map_err(Clone::clone)?;
    Ok(rules.iter().filter_map(|rule| judged(rule, &facts.numbers)).collect())
}

fn judged(rule: &ForeignRule, numbers: &Numbers) -> Option<Finding> {
    let within = |(first, last): (u32, u32), n: u32| (first..=last).contains(&n);
    let ip = if rule.family == Family::V4 { "ip" } else { "ip -6" };
    let (pref, table) = (rule.priority, rule.table);
    let seen = format!("a rule of somebody else: {ip} rule pref {pref} lookup {table}");
    let move_it = format!("give it a priority above {}", PRIORITY_RANGE.1);
    // Priority 0 is the kernel's own.
    if rule.is_for_all && pref > 0 && pref < PRIORITY_MAIN && table == TABLE_MAIN {
        let meaning = "it takes every packet before our rules are asked: nothing leaves by a route";
        return Some(Finding::new(Severity::Error, seen, (meaning, &move_it)));
    }
    if rule.is_for_all && pref > 0 && pref < PRIORITY_MAIN && table != 0 {
        let meaning = "a packet that finds a route in its table never comes to our rules";
        return Some(Finding::new(Severity::Warning, seen, (meaning, &move_it)));
    }
    if within(numbers.tables, table) || within(TABLE_RESERVED, table) {
        let meaning = "it sends traffic of others by our tables";
        return Some(Finding::new(
            Severity::Warning,
            seen,
            (meaning, "let it use another table, or set --table-range"),
        ));
    }
    within(PRIORITY_RANGE, pref).then(|| {
        let meaning = "its priority is among ours: it may go before them";
        Finding::new(Severity::Warning, seen, (meaning, &move_it))
    })
}

pub(super) fn tables(facts: &Facts) -> Outcome {
    let tables = facts.foreign_tables.as_ref().map_err(Clone::clone)?;
    let told = |table: &u32| {
        let meaning = "a route whose spec.tableId it is, or is to be, is refused on this node";
        let remedy = "move those routes, or set --table-range or spec.tableId";
        Finding::new(Severity::Warning, format!("table {table} holds routes of somebody else"), (meaning, remedy))
    };
    Ok(tables.iter().map(told).collect())
}

/// systemd-networkd removes what it does not know when it starts and when a link changes.
pub(super) fn networkd(facts: &Facts) -> Outcome {
    let Some(texts) = facts.networkd.as_ref().map_err(Clone::clone)? else { return Ok(Vec::new()) };
    let value = |wanted: &str| {
        let lines = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.split_once('='));
        lines.filter(|(key, _)| key.trim() == wanted).map(|(_, value)| value.trim().to_ascii_lowercase()).next_back()
    };
    let is_on = |setting: &&str| value(setting).is_none_or(|value| !NO.contains(&value.as_str()));
    let told = |setting: &str| {
        let message = format!("systemd-networkd runs and {setting} is not off");
        let meaning =
            "it removes our rules and routes when it restarts; the helper puts them back, and drops packets meanwhile";
        let remedy = format!(
            "write [Network] and {setting}=no into /etc/systemd/networkd.conf.d/sortie.conf, then systemctl restart systemd-networkd"
        );
        Finding::new(Severity::Warning, message, (meaning, &remedy))
    };
    Ok(SETTINGS.iter().filter(|setting| is_on(setting)).map(|setting| told(setting)).collect())
}
