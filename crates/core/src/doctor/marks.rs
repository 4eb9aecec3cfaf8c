//! Who else writes our bits of the marks.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Facts, Finding, Outcome, Severity};
use crate::ids::{NFT_TABLE, Numbers};

/// The two marks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Packet,
    Connection,
}

/// A place that writes a mark, and the bits it may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Writer {
    mark: Mark,
    bits: u32,
    place: String,
}

pub(super) fn check(facts: &Facts) -> Outcome {
    let ruleset = facts.ruleset.as_ref().map_err(Clone::clone)?;
    let mut writers = by_nft(ruleset);
    for (program, saved) in &facts.iptables {
        match saved {
            Ok(text) => writers.extend(by_iptables(program, text)),
            // The targets of iptables are no words of nft.
            Err(why) if has_foreign_words(ruleset) => {
                return Err(format!("there are rules of iptables, and {program} cannot list them: {why}"));
            }
            Err(_) => {}
        }
    }
    Ok(writers.iter().filter_map(|writer| judged(writer, &facts.numbers)).collect())
}

fn judged(writer: &Writer, numbers: &Numbers) -> Option<Finding> {
    let (ours, name, flags) = match writer.mark {
        Mark::Packet => {
            (numbers.packet_mark.0 | numbers.return_mark.0, "packet mark", "--packet-mark and --return-mark")
        }
        Mark::Connection => (numbers.ct_mark.0 | numbers.node_mark.0, "connection mark", "--ct-mark and --node-mark"),
    };
    let taken = writer.bits & ours;
    (taken != 0).then(|| {
        let message = format!("{} writes {taken:#x} of our bits of the {name}", writer.place);
        let meaning = "packets that meet it lose or change their route: they are dropped (drop_guard, drop_no_exit)";
        let remedy = format!("let it keep to other bits, or choose free ones with {flags}, the same on all nodes");
        Finding::new(Severity::Warning, message, (meaning, &remedy))
    })
}

/// Statements `meta mark set` and `ct mark set` of tables that are not ours.
pub(super) fn by_nft(ruleset: &Value) -> BTreeSet<Writer> {
    let rules = ruleset["nftables"].as_array().into_iter().flatten().map(|object| &object["rule"]);
    let foreign = rules.filter(|rule| rule.is_object() && rule["table"] != NFT_TABLE);
    let mut writers = BTreeSet::new();
    for rule in foreign {
        let word = |key: &str| rule[key].as_str().unwrap_or_default();
        let place = format!("nft chain {} {} {}", word("family"), word("table"), word("chain"));
        for statement in rule["expr"].as_array().into_iter().flatten() {
            let mangle = &statement["mangle"];
            let Some(mark) = mark(&mangle["key"]) else { continue };
            writers.insert(Writer { mark, bits: changed(&mangle["value"], mark), place: place.clone() });
        }
    }
    writers
}

fn mark(expression: &Value) -> Option<Mark> {
    if expression["meta"]["key"] == "mark" {
        return Some(Mark::Packet);
    }
    (expression["ct"]["key"] == "mark").then_some(Mark::Connection)
}

/// Bits in which the value may differ from the mark it is written to.
fn changed(value: &Value, of: Mark) -> u32 {
    if mark(value) == Some(of) {
        return 0;
    }
    let operands = |name: &str| {
        let both = value[name].as_array()?;
        Some((both.first()?, number(both.get(1)?)?))
    };
    let by_and = || operands("&").map(|(left, mask)| changed(left, of) & mask | !mask);
    let by_or = || operands("|").or_else(|| operands("^")).map(|(left, bits)| changed(left, of) | bits);
    by_and().or_else(by_or).unwrap_or(u32::MAX)
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

/// Whether there are targets that nft only knows by name.
fn has_foreign_words(ruleset: &Value) -> bool {
    ruleset.to_string().contains("\"xt\"")
}

/// Rules with the targets MARK and CONNMARK.
pub(super) fn by_iptables(program: &str, saved: &str) -> BTreeSet<Writer> {
    saved.lines().filter_map(|line| of_rule(program, line)).collect()
}

fn of_rule(program: &str, line: &str) -> Option<Writer> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |wanted: &str| words.iter().position(|word| *word == wanted).and_then(|at| words.get(at + 1)).copied();
    let chain = after("-A")?;
    let target = after("-j")?;
    let set = || after("--set-xmark").or_else(|| after("--set-mark")).map(set_bits);
    let mask = |name: &str| after(name).and_then(hexadecimal).unwrap_or(u32::MAX);
    let has = |word: &str| words.contains(&word);
    let (mark, bits) = match target {
        "MARK" => (Mark::Packet, set()?),
        "CONNMARK" if has("--restore-mark") => (Mark::Packet, mask("--nfmask")),
        "CONNMARK" if has("--save-mark") => (Mark::Connection, mask("--ctmask")),
        "CONNMARK" => (Mark::Connection, set()?),
        _ => return None,
    };
    Some(Writer { mark, bits, place: format!("chain {chain} ({program}, -j {target})") })
}

/// `value/mask`: the bits of the mask are cleared, those of the value toggled.
fn set_bits(text: &str) -> u32 {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    match (hexadecimal(value), hexadecimal(mask)) {
        (Some(value), Some(mask)) => value | mask,
        _ => u32::MAX,
    }
}

fn hexadecimal(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
