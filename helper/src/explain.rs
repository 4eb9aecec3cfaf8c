//! `explain`: asks the helper about one packet and writes its answer for people or for scripts.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sortie_core::explain::{Explanation, Finding, Hop, Question, SourceAddress, Unusable, Way};
use sortie_ipc::{FrameError, Reply, Request, call};

use crate::cli::{ExplainOptions, Format};

/// How long a helper may think.
const DEADLINE: Duration = Duration::from_secs(10);

/// The text to print.
pub(crate) fn explain(options: &ExplainOptions) -> anyhow::Result<String> {
    let told = match call(&options.socket, Request::Explain(options.question.clone()), DEADLINE) {
        Ok(Reply::Explained(told)) => *told,
        Ok(Reply::Failed(failure)) => bail!("the helper refused: {failure}; is it older than this program?"),
        Ok(other) => bail!("helper answered {other:?}"),
        Err(error @ FrameError::Connect { .. }) => {
            return Err(error).context(
                "no helper is ready there; its log says why, or start it, or give --socket; `sortie-helper doctor` needs none",
            );
        }
        Err(error) => return Err(error).with_context(|| format!("ask helper at {}", options.socket.display())),
    };
    match options.format {
        Format::Json => Ok(serde_json::to_string_pretty(&told)? + "\n"),
        Format::Text => Ok(text(&told, &options.question)),
    }
}

fn text(told: &Explanation, question: &Question) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!("{} of Pod {} on node {}:", asked(question), told.pod, told.node));
    line(format!("  {}", told.summary));
    if let Some(decider) = &told.decided_by {
        line(format!("decided by {}: {}", decider.object, decider.flow));
    }
    if let Some(way) = &told.way {
        way_lines(way).into_iter().for_each(&mut line);
    }
    if let Some(source) = told.source.as_ref().filter(|source| source.kind != "none") {
        line(source_line(source));
    }
    for other in &told.others {
        let flow = if other.flow.is_empty() { String::new() } else { format!(" ({})", other.flow) };
        let word = if other.matches { "lost" } else { "does not match" };
        line(format!("{word}: {}{flow}: {}", other.object, other.why));
    }
    for check in &told.checks {
        let word = match check.finding {
            Finding::Ok => "ok",
            Finding::Note => "note",
            Finding::Fails => "FAILS",
        };
        line(format!("{word:<5} {}: {}", check.check, check.message));
    }
    for said in &told.kernel {
        let word = if said.agrees { "" } else { "   <- not as expected" };
        line(format!("kernel: {}\n        {}{word}", said.question, said.answer));
    }
    out
}

fn asked(question: &Question) -> String {
    let protocol = format!("{:?}", question.protocol).to_lowercase();
    let source = question.source_port.map(|port| format!(" from port {port}")).unwrap_or_default();
    let port = question.destination_port.map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{protocol}{source} to {}{port}", question.destination)
}

fn way_lines(way: &Way) -> Vec<String> {
    let gateway =
        |gateway: &Option<IpAddr>| gateway.map_or_else(|| "on-link".to_owned(), |gateway| gateway.to_string());
    let route = if way.route.is_empty() { String::new() } else { format!("route {} ", way.route) };
    let node = if way.node.is_empty() { String::new() } else { format!(" node {}", way.node) };
    let head = format!("way: {route}table {} exit {} path {}{node}", way.table, way.exit, way.path);
    let used = |hop: &Hop| format!("  next hop {} dev {} weight {}", gateway(&hop.gateway), hop.device, hop.weight);
    let unused = |hop: &Unusable| format!("  unusable {} dev {}: {}", gateway(&hop.gateway), hop.device, hop.why);
    [head].into_iter().chain(way.next_hops.iter().map(used)).chain(way.unusable.iter().map(unused)).collect()
}

fn source_line(source: &SourceAddress) -> String {
    let list = source.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    match source.kind.as_str() {
        "service" => format!("source: {list} of Service {}, owned by node {}", source.service, source.owner),
        "unchanged" => "source: whatever the cluster's network makes of it".to_owned(),
        "device" if list.is_empty() => "source: an address of the device it leaves by".to_owned(),
        kind => format!("source: {list} ({kind})"),
    }
}

#[cfg(test)]
mod tests {
    use sortie_core::explain::{Check, Decider, Outcome, Transport};

    use super::*;

    #[test]
    fn the_text_names_who_decides_the_way_and_what_fails() {
        let question = Question {
            pod: sortie_core::model::ObjectName { namespace: "core".into(), name: "sip".into() },
            protocol: Transport::Udp,
            source_port: Some(5060),
            destination: "203.0.113.5".parse().unwrap(),
            destination_port: None,
        };
        let hop = Hop { gateway: "172.16.1.1".parse().ok(), device: "eth1".into(), weight: 1 };
        let told = Explanation {
            node: "n1".into(),
            pod: "core/sip".into(),
            outcome: Outcome::Route,
            summary: "leaves".into(),
            decided_by: Some(Decider { object: "EgressPolicy core/sip".into(), flow: "udp source port 5060".into() }),
            way: Some(Way { route: "b".into(), table: 10_000, exit: 1, next_hops: vec![hop], ..Way::default() }),
            checks: vec![Check::new("state", Finding::Fails, "rule is missing")],
            ..Explanation::default()
        };
        let text = text(&told, &question);
        for word in [
            "udp from port 5060 to 203.0.113.5 of Pod core/sip on node n1",
            "decided by EgressPolicy core/sip: udp source port 5060",
            "next hop 172.16.1.1 dev eth1",
            "FAILS state: rule is missing",
        ] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
}
