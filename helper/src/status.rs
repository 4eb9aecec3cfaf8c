//! `status`: asks the helper and writes its answer for people or for scripts.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sortie_ipc::{FrameError, Reply, Request, StatusReport, call};

use crate::cli::{Format, StatusOptions};

/// How long a helper may think.
const DEADLINE: Duration = Duration::from_secs(10);

/// The text to print.
pub(crate) fn status(options: &StatusOptions) -> anyhow::Result<String> {
    let report = match call(&options.socket, Request::Status, DEADLINE) {
        Ok(Reply::Status(report)) => *report,
        Ok(other) => bail!("helper answered {other:?}"),
        Err(error @ FrameError::Connect { .. }) => {
            return Err(error).context("no helper is ready there; its log says why, or start it, or give --socket");
        }
        Err(error) => return Err(error).with_context(|| format!("ask helper at {}", options.socket.display())),
    };
    match options.format {
        Format::Json => Ok(serde_json::to_string_pretty(&report)? + "\n"),
        Format::Text => Ok(text(&report)),
    }
}

fn text(report: &StatusReport) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{text}");
    };
    let ready = if report.ready { "ready".to_owned() } else { format!("not ready: {}", report.reason) };
    line(format_args!("node {}: {ready}", report.node));
    line(format_args!("steering: {}", report.steering));
    line(format_args!("attachments: {}, selected: {}", report.attachments, report.selected));
    line(format_args!("repairs: {}", report.repairs));
    for route in &report.routes {
        line(format_args!("route {}: table {} exit {}", route.name, route.table, route.exit));
        route.next_hops.iter().for_each(|hop| line(format_args!("  next hop {hop}")));
        route.unusable.iter().for_each(|hop| line(format_args!("  unusable {hop}")));
    }
    for held in &report.addresses {
        let list: Vec<String> = held.addresses.iter().map(ToString::to_string).collect();
        let owner = held.owner.as_deref().unwrap_or("nobody");
        line(format_args!(
            "service {}: {} owner {owner} answered on {}",
            held.service,
            list.join(" "),
            held.devices.join(" ")
        ));
    }
    report.dropped.iter().for_each(|(name, count)| line(format_args!("{name}: {count}")));
    report.refused.iter().for_each(|(reason, count)| line(format_args!("peer messages refused, {reason}: {count}")));
    report.conditions.iter().for_each(|condition| line(format_args!("{condition}")));
    out
}

#[cfg(test)]
mod tests {
    use sortie_ipc::RouteStatus;

    use super::*;

    #[test]
    fn the_text_says_why_a_helper_is_not_ready_and_which_hop_is_unusable() {
        let route = RouteStatus {
            name: "r".into(),
            table: 10_000,
            unusable: vec!["x: DeviceMissing".into()],
            ..Default::default()
        };
        let report =
            StatusReport { node: "n1".into(), reason: "no network".into(), routes: vec![route], ..Default::default() };
        let text = text(&report);
        assert!(text.starts_with("node n1: not ready: no network\n"), "{text}");
        assert!(text.contains("route r: table 10000") && text.contains("  unusable x: DeviceMissing"), "{text}");
    }
}
