//! Firewalls that drop what comes out of the tunnel.

use serde_json::Value;

use super::{Facts, Finding, Outcome, Severity};
use crate::ids::{NFT_TABLE, TUNNEL_DEVICE};
use crate::model::DeviceName;

pub(super) fn check(facts: &Facts) -> Outcome {
    let devices = facts.devices.as_ref().map_err(Clone::clone)?;
    if !devices.contains_key(&DeviceName(TUNNEL_DEVICE.to_owned())) {
        return Ok(Vec::new());
    }
    let ruleset = facts.ruleset.as_ref().map_err(Clone::clone)?;
    let by_nft = dropping(ruleset);
    let is_dropping = |text: &str| {
        let filter = text.split("*filter").nth(1).unwrap_or_default();
        filter.contains(":FORWARD DROP") && !filter.contains(&format!("-i {TUNNEL_DEVICE} "))
    };
    let saved = facts.iptables.iter().filter(|(_, text)| text.as_ref().is_ok_and(|text| is_dropping(text)));
    // A chain that iptables keeps in nftables is seen twice.
    let saved: Vec<String> =
        if by_nft.is_empty() { saved.map(|(name, _)| format!("chain FORWARD ({name})")).collect() } else { Vec::new() };
    let told = |chain: String| {
        let message = format!("{chain} drops what it does not know, and no rule of it names {TUNNEL_DEVICE}");
        let meaning = "pods of other nodes whose packets are to leave here may be dropped";
        let remedy = format!(
            "accept it there: iptables -I FORWARD -i {TUNNEL_DEVICE} -j ACCEPT, and ip6tables, or the same in nft"
        );
        Finding::new(Severity::Warning, message, (meaning, &remedy))
    };
    Ok(by_nft.into_iter().chain(saved).map(told).collect())
}

/// Chains of others at the forward hook with policy drop, in whose table nothing names the tunnel.
fn dropping(ruleset: &Value) -> Vec<String> {
    let objects = || ruleset["nftables"].as_array().into_iter().flatten();
    let of_table =
        |object: &Value, chain: &Value| object["family"] == chain["family"] && object["table"] == chain["table"];
    let names_tunnel = |chain: &Value| {
        let rules = objects().map(|object| &object["rule"]).filter(|rule| of_table(rule, chain));
        rules.map(|rule| rule["expr"].to_string()).any(|text| text.contains(&format!("\"{TUNNEL_DEVICE}\"")))
    };
    let chains = objects().map(|object| &object["chain"]);
    let drops = chains.filter(|c| c["hook"] == "forward" && c["policy"] == "drop" && c["table"] != NFT_TABLE);
    drops
        .filter(|chain| !names_tunnel(chain))
        .map(|chain| {
            let word = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
            format!("chain {} {} {}", word("family"), word("table"), word("name"))
        })
        .collect()
}
