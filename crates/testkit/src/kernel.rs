//! Kernel state as `ip`, `nft` and `conntrack` tell it; nothing of ours takes part in reading it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::net::Namespace;

/// Our rules of one family (`"-4"` or `"-6"`), as `ip -j rule` tells them: those of protocol 155.
///
/// # Errors
/// When `ip` fails.
pub fn own_rules(namespace: &Namespace, family: &str) -> Result<Vec<Value>> {
    let rules = json(namespace, "ip", &["-j", family, "rule"])?;
    Ok(rules.into_iter().filter(|rule| is_own(&rule["protocol"])).collect())
}

/// Our routes of one family, as `ip -j route` tells them: those of protocol 155.
///
/// # Errors
/// When `ip` fails.
pub fn own_routes(namespace: &Namespace, family: &str) -> Result<Vec<Value>> {
    let routes = json(namespace, "ip", &["-j", family, "route", "show", "table", "all"])?;
    Ok(routes.into_iter().filter(|route| is_own(&route["protocol"])).collect())
}

fn is_own(protocol: &Value) -> bool {
    protocol.as_str() == Some("155") || protocol.as_u64() == Some(155)
}

/// Our nft table as `nft -j` tells it; nothing when it is not there.
///
/// # Errors
/// When `nft` prints no JSON.
pub fn own_table(namespace: &Namespace) -> Result<Option<Value>> {
    let Ok(text) = namespace.run("nft", &["-j", "list", "table", "inet", "sortie"]) else { return Ok(None) };
    serde_json::from_str(&text).context("nft printed no JSON").map(Some)
}

/// Elements of one of our sets and maps, as text.
///
/// # Errors
/// When `nft` prints no JSON.
pub fn elements(namespace: &Namespace, name: &str) -> Result<Vec<String>> {
    let table = own_table(namespace)?.unwrap_or_default();
    let objects = table["nftables"].as_array().cloned().unwrap_or_default();
    let holders = objects.iter().filter_map(|object| object.get("set").or_else(|| object.get("map")));
    let lists = holders.filter(|holder| holder["name"] == name).filter_map(|holder| holder["elem"].as_array().cloned());
    Ok(lists.flatten().map(|element| element.to_string()).collect())
}

/// Tracked connections with `text` in their line.
///
/// # Errors
/// When `conntrack` fails.
pub fn connections(namespace: &Namespace, text: &str) -> Result<Vec<String>> {
    let both = ["ipv4", "ipv6"].map(|family| namespace.run("conntrack", &["-L", "-f", family, "-o", "extended"]));
    let mut lines = Vec::new();
    for listed in both {
        lines.extend(listed?.lines().filter(|line| line.contains(text)).map(str::to_owned));
    }
    Ok(lines)
}

/// Packets counted by one of our named counters.
///
/// # Errors
/// When `nft` prints no JSON.
pub fn counter(namespace: &Namespace, name: &str) -> Result<u64> {
    let found = counters(namespace)?.into_iter().find(|(counter, _)| counter == name);
    Ok(found.map_or(0, |(_, packets)| packets))
}

/// Every counter of ours that counted, as `name=packets`.
#[must_use]
pub fn counted(namespace: &Namespace) -> String {
    let all = counters(namespace).unwrap_or_default();
    all.iter().filter(|(_, packets)| *packets > 0).map(|(name, packets)| format!("{name}={packets} ")).collect()
}

fn counters(namespace: &Namespace) -> Result<Vec<(String, u64)>> {
    let table = own_table(namespace)?.unwrap_or_default();
    let objects = table["nftables"].as_array().into_iter().flatten();
    let counters = objects.filter_map(|object| object.get("counter"));
    let named = |counter: &Value| {
        (counter["name"].as_str().unwrap_or_default().to_owned(), counter["packets"].as_u64().unwrap_or(0))
    };
    Ok(counters.map(named).collect())
}

fn json(namespace: &Namespace, program: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let text = namespace.run(program, arguments)?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).with_context(|| format!("{program} {} printed no JSON", arguments.join(" ")))
}

/// Everything of ours in the kernel, one line each, in an order that does not depend on history; counters, handles
/// and members that go by themselves are left out. Equal sets are equal state.
///
/// # Errors
/// When one of the programs fails.
pub fn own_state(namespace: &Namespace) -> Result<BTreeSet<String>> {
    let mut state = BTreeSet::new();
    for family in ["-4", "-6"] {
        state.extend(own_rules(namespace, family)?.iter().map(|rule| format!("rule {family} {rule}")));
        state.extend(own_routes(namespace, family)?.iter().map(|route| format!("route {family} {route}")));
    }
    let table = own_table(namespace)?.unwrap_or_default();
    for object in table["nftables"].as_array().into_iter().flatten() {
        for (kind, value) in object.as_object().into_iter().flatten().filter(|(kind, _)| *kind != "metainfo") {
            let mut value = value.clone();
            for volatile in ["handle", "packets", "bytes"] {
                value.as_object_mut().map(|fields| fields.remove(volatile));
            }
            let elements = value.as_object_mut().and_then(|fields| fields.remove("elem"));
            let name = value["name"].as_str().unwrap_or_default().to_owned();
            let elements = elements.filter(|_| value.get("timeout").is_none());
            let elements = elements.as_ref().and_then(Value::as_array).into_iter().flatten();
            state.extend(elements.map(|element| format!("element {name} {element}")));
            state.insert(format!("{kind} {value}"));
        }
    }
    Ok(state)
}
