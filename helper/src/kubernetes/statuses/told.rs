//! What a status says, and should say.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use sortie_core::model::Reason;

use crate::due::{Judged, Verdict};

/// Status of a route; a table is given, or why it is not, with the one that it has.
pub(super) fn route(judged: &Judged, now: &Value, table: Option<&Result<u32, (Option<u32>, Verdict)>>) -> Value {
    let (id, accepted) = match table {
        Some(Ok(id)) => (Some(*id), &judged.accepted),
        Some(Err((id, refused))) => (*id, if judged.accepted.holds { refused } else { &judged.accepted }),
        None => (self::table(now), &judged.accepted),
    };
    let silent = judged.nodes.len() - entries(now, &judged.nodes).count();
    let mut status = Map::new();
    if let Some(id) = id {
        status.insert("tableId".to_owned(), id.into());
    }
    status.insert("exitNodes".to_owned(), silent.into());
    let reachable = if silent > 0 {
        Verdict { holds: true, reason: Reason::Accepted, message: format!("{silent} nodes can exit") }
    } else {
        let message = "no node can exit; status.nodes says why".to_owned();
        Verdict { holds: false, reason: Reason::NoExitNode, message }
    };
    let programmed = if id.is_none() && accepted.holds {
        Verdict { holds: false, reason: Reason::Pending, message: "no table was given yet".to_owned() }
    } else {
        in_force(accepted).unwrap_or_else(|| programmed_route(judged, now))
    };
    let conditions = [("Accepted", accepted), ("NextHopsReachable", &reachable), ("Programmed", &programmed)];
    let conditions = conditions.map(|(kind, verdict)| condition(now, kind, verdict, judged.generation));
    status.insert("conditions".to_owned(), conditions.into());
    status.into()
}

/// Why what is refused is not in any kernel.
fn in_force(accepted: &Verdict) -> Option<Verdict> {
    let message = "see condition Accepted".to_owned();
    (!accepted.holds).then_some(Verdict { holds: false, reason: accepted.reason, message })
}

/// A device that is nowhere, a table that somebody else uses and a kernel that does not follow are in the way; a next
/// hop that is silent is not.
fn programmed_route(judged: &Judged, now: &Value) -> Verdict {
    let all: Vec<(Reason, String)> = entries(now, &judged.nodes).map(trouble).collect();
    let is_broken = |reason: Reason| !matches!(reason, Reason::DeviceMissing | Reason::NextHopUnreachable);
    let broken = all.iter().find(|(reason, _)| is_broken(*reason));
    let nowhere = all.len() == judged.nodes.len() && all.iter().all(|(reason, _)| *reason == Reason::DeviceMissing);
    match broken.or_else(|| all.first().filter(|_| nowhere)) {
        Some((reason, message)) => Verdict { holds: false, reason: *reason, message: message.clone() },
        None if judged.nodes.is_empty() => {
            let message = "no node with a helper is admitted by spec.nodeSelector".to_owned();
            Verdict { holds: false, reason: Reason::NoExitNode, message }
        }
        None => Verdict { holds: true, reason: Reason::Programmed, message: "in the kernel of every exit".to_owned() },
    }
}

/// Status of a policy.
pub(super) fn policy(judged: &Judged, now: &Value) -> Value {
    let sum = |field: &str| entries(now, &judged.nodes).filter_map(|entry| entry[field].as_u64()).sum::<u64>();
    let (matched, programmed) = (sum("matchedPods"), sum("programmedPods"));
    let first = entries(now, &judged.nodes).map(trouble).find(|(reason, _)| *reason != Reason::Programmed);
    let verdict = in_force(&judged.accepted).unwrap_or_else(|| match first.filter(|_| programmed < matched) {
        Some((reason, message)) => Verdict { holds: false, reason, message },
        None => {
            let message = format!("traffic of {programmed} pods can leave");
            Verdict { holds: true, reason: Reason::Programmed, message }
        }
    });
    let conditions = [("Accepted", &judged.accepted), ("Programmed", &verdict)];
    let conditions = conditions.map(|(kind, verdict)| condition(now, kind, verdict, judged.generation));
    json!({"matchedPods": matched, "programmedPods": programmed, "conditions": conditions})
}

/// Status of a pool.
pub(super) fn pool(judged: &Judged, now: &Value) -> Value {
    let (allocated, free) = judged.counts;
    let accepted = condition(now, "Accepted", &judged.accepted, judged.generation);
    json!({"allocated": allocated, "free": free, "conditions": [accepted]})
}

/// What becomes different for somebody who looks at an object from time to time: the first condition that holds no
/// more or again, or the number of exits, as (whether it is bad, reason, sentence).
pub(super) fn turn(now: &Value, wanted: &Value) -> Option<(bool, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for condition in wanted["conditions"].as_array().into_iter().flatten() {
        let is_bad = condition["status"] != "True";
        let before = entry(now, condition).map(|known| known["status"] != "True");
        if before.is_some_and(|before| before != is_bad)
            || before.is_none() && is_bad && condition["reason"] != "Pending"
        {
            let reason = if is_bad { &condition["reason"] } else { &condition["type"] };
            return Some((is_bad, text(reason), text(&condition["message"])));
        }
    }
    let (before, after) = (now["exitNodes"].as_u64()?, wanted["exitNodes"].as_u64()?);
    let message = format!("{after} nodes can exit, {before} before; status.nodes says why others cannot");
    let reason = if after < before { "ExitLost" } else { "ExitBack" };
    (before != after).then(|| (after < before, reason.to_owned(), message))
}

/// The table that a status names.
pub(super) fn table(status: &Value) -> Option<u32> {
    u32::try_from(status["tableId"].as_u64()?).ok()
}

/// Whether a status says all that it should.
pub(super) fn says(now: &Value, wanted: &Value) -> bool {
    wanted.as_object().into_iter().flatten().all(|(field, value)| match (field.as_str(), value.as_array()) {
        ("conditions", Some(conditions)) => conditions.iter().all(|condition| entry(now, condition) == Some(condition)),
        _ => now.get(field) == Some(value),
    })
}

fn entry<'a>(status: &'a Value, condition: &Value) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|known| known["type"] == condition["type"])
}

/// What these nodes say.
fn entries<'a>(status: &'a Value, nodes: &BTreeSet<String>) -> impl Iterator<Item = &'a Value> {
    let all = status["nodes"].as_array().into_iter().flatten();
    all.filter(|entry| entry["name"].as_str().is_some_and(|name| nodes.contains(name)))
}

/// Who says something and is none of these nodes; nobody while none are known.
pub(super) fn strangers<'a>(status: &'a Value, nodes: &BTreeSet<String>) -> impl Iterator<Item = &'a str> {
    let all = status["nodes"].as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str());
    all.filter(|name| !nodes.is_empty() && !nodes.contains(*name))
}

fn trouble(entry: &Value) -> (Reason, String) {
    let reason = Reason::deserialize(&entry["reason"]).unwrap_or(Reason::Invalid);
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    (reason, format!("node {}: {}", text("name"), text("message")))
}

/// The time of the last transition stays unless this is one.
pub(in crate::kubernetes) fn condition(now: &Value, kind: &str, verdict: &Verdict, generation: Option<i64>) -> Value {
    let Verdict { holds, reason, message } = verdict;
    let status = if *holds { "True" } else { "False" };
    let known = entry(now, &json!({"type": kind})).filter(|known| known["status"] == status);
    let since = known.and_then(|known| known["lastTransitionTime"].as_str()).map(str::to_owned);
    let since = since.unwrap_or_else(|| Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    let mut condition = json!({
        "type": kind, "status": status, "reason": format!("{reason:?}"), "message": message, "lastTransitionTime": since,
    });
    if let Some(generation) = generation {
        condition["observedGeneration"] = generation.into();
    }
    condition
}

/// Most characters of a message.
const MESSAGE_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(reason: Reason) -> Judged {
        let holds = reason == Reason::Accepted;
        Judged::only(Verdict { holds, reason, message: format!("{reason:?}") })
    }

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_status() {
        let before = json!({"conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "x", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        ]});
        let same = policy(&judged(Reason::Accepted), &before);
        assert_eq!(same["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(same["conditions"][0]["message"], "Accepted");
        let other = policy(&judged(Reason::RouteNotFound), &before);
        assert_ne!(other["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
    }

    #[test]
    fn what_a_status_says_already_is_not_written_again() {
        let wanted = pool(&Judged { counts: (1, 2), ..judged(Reason::Accepted) }, &Value::Null);
        assert!(!says(&Value::Null, &wanted));
        let mut now = wanted.clone();
        now["nodes"] = json!([{"name": "n1"}]);
        assert!(says(&now, &wanted) && says(&now, &pool(&Judged { counts: (1, 2), ..judged(Reason::Accepted) }, &now)));
        assert!(!says(&now, &pool(&Judged { counts: (2, 1), ..judged(Reason::Accepted) }, &now)));
    }

    #[test]
    fn nodes_that_speak_up_are_no_exits() {
        let nodes = ["a".to_owned(), "b".to_owned()].into();
        let route =
            route(&Judged { nodes, ..judged(Reason::Accepted) }, &json!({"nodes": [{"name": "a"}]}), Some(&Ok(7)));
        assert_eq!((&route["exitNodes"], &route["tableId"]), (&json!(1), &json!(7)));
    }

    fn node(name: &str, reason: &str, pods: Option<(u64, u64)>) -> Value {
        let mut entry = json!({"name": name, "reason": reason, "message": "why"});
        if let Some((matched, programmed)) = pods {
            (entry["matchedPods"], entry["programmedPods"]) = (matched.into(), programmed.into());
        }
        entry
    }

    fn programmed(status: &Value) -> (Value, Value) {
        let found = entry(status, &json!({"type": "Programmed"})).unwrap();
        (found["status"].clone(), found["reason"].clone())
    }

    #[test]
    fn a_route_is_programmed_unless_its_device_is_nowhere_or_a_kernel_does_not_follow() {
        let judged = Judged { nodes: ["a".to_owned(), "b".to_owned()].into(), ..judged(Reason::Accepted) };
        let said = |nodes: &[(&str, &str)]| {
            let nodes: Vec<Value> = nodes.iter().map(|(name, reason)| node(name, reason, None)).collect();
            let (status, reason) = programmed(&route(&judged, &json!({"nodes": nodes}), Some(&Ok(7))));
            format!("{} {}", status.as_str().unwrap(), reason.as_str().unwrap())
        };
        assert_eq!(said(&[]), "True Programmed");
        assert_eq!(said(&[("a", "DeviceMissing")]), "True Programmed");
        assert_eq!(said(&[("a", "DeviceMissing"), ("b", "DeviceMissing")]), "False DeviceMissing");
        assert_eq!(said(&[("a", "DeviceMissing"), ("b", "NextHopUnreachable")]), "True Programmed");
        assert_eq!(said(&[("a", "Pending")]), "False Pending");
        assert_eq!(said(&[("gone", "Pending")]), "True Programmed");
    }

    #[test]
    fn a_policy_counts_the_pods_of_all_nodes_that_are_there() {
        let judged = Judged { nodes: ["a".to_owned(), "b".to_owned()].into(), ..judged(Reason::Accepted) };
        let mut nodes = vec![node("a", "Programmed", Some((2, 2))), node("gone", "Programmed", Some((9, 9)))];
        let status = policy(&judged, &json!({"nodes": nodes}));
        assert_eq!((&status["matchedPods"], &status["programmedPods"]), (&json!(2), &json!(2)));
        assert_eq!(programmed(&status).0, "True");
        nodes.push(node("b", "DeviceMissing", Some((3, 1))));
        let status = policy(&judged, &json!({"nodes": nodes}));
        assert_eq!((&status["matchedPods"], &status["programmedPods"]), (&json!(5), &json!(3)));
        assert_eq!(programmed(&status), (json!("False"), json!("DeviceMissing")));
    }

    #[test]
    fn what_turns_is_said_once_and_a_first_good_state_is_not() {
        let good = policy(&judged(Reason::Accepted), &Value::Null);
        let bad = policy(&judged(Reason::RouteNotFound), &good);
        assert_eq!(turn(&Value::Null, &good), None);
        assert_eq!(turn(&good, &bad).map(|(is_bad, reason, _)| (is_bad, reason)), Some((true, "RouteNotFound".into())));
        assert_eq!(turn(&bad, &good).map(|(is_bad, reason, _)| (is_bad, reason)), Some((false, "Accepted".into())));
        assert_eq!(turn(&Value::Null, &bad).map(|(is_bad, ..)| is_bad), Some(true));
        assert_eq!(turn(&bad, &bad), None);
        let exits = |count: u64| json!({"exitNodes": count});
        assert_eq!(
            turn(&exits(3), &exits(2)).map(|(is_bad, reason, _)| (is_bad, reason)),
            Some((true, "ExitLost".into()))
        );
    }

    #[test]
    fn a_condition_names_the_generation_that_was_judged() {
        let status = pool(&Judged { generation: Some(4), ..judged(Reason::Accepted) }, &Value::Null);
        assert_eq!(status["conditions"][0]["observedGeneration"], 4);
    }
}
