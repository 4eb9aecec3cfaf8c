//! What a status says, and should say.

use k8s_openapi::jiff::Timestamp;
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
    let silent = judged.exits.iter().filter(|node| !has_entry(now, node)).count();
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
    let conditions = [("Accepted", accepted), ("NextHopsReachable", &reachable)];
    status.insert("conditions".to_owned(), conditions.map(|(kind, verdict)| condition(now, kind, verdict)).into());
    status.into()
}

/// Status of a policy.
pub(super) fn policy(judged: &Judged, now: &Value) -> Value {
    json!({"conditions": [condition(now, "Accepted", &judged.accepted)]})
}

/// Status of a pool.
pub(super) fn pool(judged: &Judged, now: &Value) -> Value {
    let (allocated, free) = judged.counts;
    json!({"allocated": allocated, "free": free, "conditions": [condition(now, "Accepted", &judged.accepted)]})
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

fn has_entry(status: &Value, node: &str) -> bool {
    status["nodes"].as_array().into_iter().flatten().any(|entry| entry["name"] == node)
}

/// The time of the last transition stays unless this is one.
fn condition(now: &Value, kind: &str, Verdict { holds, reason, message }: &Verdict) -> Value {
    let status = if *holds { "True" } else { "False" };
    let known = entry(now, &json!({"type": kind})).filter(|known| known["status"] == status);
    let since = known.and_then(|known| known["lastTransitionTime"].as_str()).map(str::to_owned);
    let since = since.unwrap_or_else(|| Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    json!({
        "type": kind, "status": status, "reason": format!("{reason:?}"), "message": message, "lastTransitionTime": since,
    })
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
        let exits = ["a".to_owned(), "b".to_owned()].into();
        let route =
            route(&Judged { exits, ..judged(Reason::Accepted) }, &json!({"nodes": [{"name": "a"}]}), Some(&Ok(7)));
        assert_eq!((&route["exitNodes"], &route["tableId"]), (&json!(1), &json!(7)));
    }
}
