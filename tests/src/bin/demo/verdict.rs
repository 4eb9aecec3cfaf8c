//! What was expected of a flow, what the far end saw, and what follows.
//!
//! Guarantees: a packet seen at a router where it may not be, or with a source it may not have, is a leak, whatever
//! else was seen of the flow. Leaves out: how packets are seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Which way a packet of a flow may take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// Router it passes.
    pub(crate) router: &'static str,
    /// Source address there.
    pub(crate) source: IpAddr,
}

/// One flow and the way it must take.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// What the operator reads: `sip udp:5060`.
    pub(crate) name: String,
    /// Route, or `main`.
    pub(crate) route: &'static str,
    /// The way; nothing when the flow must not leave.
    pub(crate) way: Option<Way>,
    /// Another way it may still take while an edit is on its way.
    pub(crate) before: Option<Way>,
}

/// Packets of a flow by the way they took.
pub(crate) type Seen = BTreeMap<Way, u64>;

/// Leaked packets of one flow.
pub(crate) fn leaked(expected: &Expected, seen: &Seen) -> u64 {
    let allowed = |way: &Way| Some(way) == expected.way.as_ref() || Some(way) == expected.before.as_ref();
    seen.iter().filter(|(way, _)| !allowed(way)).map(|(_, count)| count).sum()
}

/// Whether the flow did what it must.
pub(crate) fn holds(expected: &Expected, seen: &Seen) -> bool {
    let arrived = expected.way.as_ref().is_none_or(|way| seen.get(way).is_some_and(|count| *count > 0));
    arrived && leaked(expected, seen) == 0
}

/// The table of one scene.
pub(crate) fn table(rows: &[(Expected, Seen)]) -> String {
    let mut text =
        format!("  {:<21} {:<10} {:<22} {:<44} {}\n", "flow", "route", "expected", "seen at the far end", "verdict");
    for (expected, seen) in rows {
        let want = expected.way.as_ref().map_or_else(|| "dropped".to_owned(), way);
        let verdict = if holds(expected, seen) { "ok" } else { "WRONG" };
        let _ = writeln!(
            text,
            "  {:<21} {:<10} {want:<22} {:<44} {verdict}",
            expected.name,
            expected.route,
            sightings(seen)
        );
    }
    text
}

fn way(way: &Way) -> String {
    format!("{} from {}", way.router, way.source)
}

fn sightings(seen: &Seen) -> String {
    let list: Vec<String> = seen.iter().map(|(taken, count)| format!("{count} x {}", way(taken))).collect();
    if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(router: &'static str, last: u8) -> Way {
        Way { router, source: IpAddr::from([192, 0, 2, last]) }
    }

    fn expected() -> Expected {
        Expected { name: "sip udp".into(), route: "signalling", way: Some(by("B", 1)), before: None }
    }

    #[test]
    fn a_flow_on_its_way_holds() {
        assert!(holds(&expected(), &Seen::from([(by("B", 1), 9)])));
    }

    #[test]
    fn one_packet_at_the_wrong_router_or_with_the_wrong_source_is_a_leak() {
        for stray in [by("A", 1), by("B", 7)] {
            let seen = Seen::from([(by("B", 1), 9), (stray, 1)]);
            assert!(!holds(&expected(), &seen));
            assert_eq!(leaked(&expected(), &seen), 1);
        }
    }

    #[test]
    fn silence_is_wrong_unless_the_flow_must_be_dropped() {
        assert!(!holds(&expected(), &Seen::new()));
        assert!(holds(&Expected { way: None, ..expected() }, &Seen::new()));
        assert!(!holds(&Expected { way: None, ..expected() }, &Seen::from([(by("B", 1), 1)])));
    }

    #[test]
    fn the_way_before_an_edit_is_no_leak_but_does_not_satisfy() {
        let edited = Expected { before: Some(by("C", 1)), ..expected() };
        assert_eq!(leaked(&edited, &Seen::from([(by("C", 1), 3)])), 0);
        assert!(!holds(&edited, &Seen::from([(by("C", 1), 3)])));
    }

    #[test]
    fn the_table_shows_both_sides() {
        let text = table(&[(expected(), Seen::from([(by("A", 7), 2)]))]);
        assert!(text.contains("B from 192.0.2.1") && text.contains("2 x A from 192.0.2.7") && text.contains("WRONG"));
    }
}
