use super::*;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../../install/grafana/sortie.json");

/// Everything is known and has happened.
fn all() -> (Tally, Figures) {
    let counts = BTreeMap::from([("x".to_owned(), 1)]);
    let figures = Figures {
        next_hops: BTreeMap::from([("b".to_owned(), (1, 2))]),
        dropped: BTreeMap::from([("drop_guard".to_owned(), 7)]),
        addresses: BTreeMap::from([("here", 1)]),
        kernel: BTreeMap::from([("rule", 1)]),
        peers: Some(Peers { known: 2, alive: 1, refused: counts }),
        replicated: Some(Replicated { age: Some(Duration::from_millis(1500)), ..Replicated::default() }),
        watches: BTreeMap::from([("Pod".to_owned(), true)]),
        ..Figures::default()
    };
    (Tally::new(), figures)
}

/// Families with their type: `(name, type)`; counters as their samples are called.
fn families(text: &str) -> BTreeSet<(String, String)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let name = |name: &str, kind: &str| if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
    types.map(|(family, kind)| (name(family, kind), kind.to_owned())).collect()
}

/// Rows of the document's table.
fn documented() -> BTreeSet<(String, String)> {
    let section = DOCUMENT.split("## What is exposed").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `sortie_"));
    let cells = |row: &str| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        Some((format!("sortie_{}", cells.next()?), cells.next()?))
    };
    rows.filter_map(cells).collect()
}

#[test]
fn the_document_lists_what_is_exposed_and_nothing_else() {
    let (tally, figures) = all();
    assert_eq!(documented(), families(&tally.text(&figures)));
}

#[test]
fn every_metric_of_the_dashboard_exists() {
    let known: BTreeSet<String> = documented().into_iter().map(|(name, _)| name).collect();
    let words = DASHBOARD.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| w.starts_with("sortie_"));
    let base =
        |word: &str| ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).map(str::to_owned);
    let named: BTreeSet<&str> = words.collect();
    assert!(named.len() > 10, "{named:?}");
    for word in named {
        let is_known = known.contains(word) || base(word).is_some_and(|base| known.contains(&base));
        assert!(is_known, "{word} is not exposed");
    }
}

#[test]
fn numbers_arrive_with_their_labels_and_units() {
    let (mut tally, figures) = all();
    tally.reconciled(Duration::from_millis(3), &Ok(()));
    tally.reconciled(Duration::from_millis(3), &Err(NodeError::ClusterUnknown));
    tally.added(Duration::from_millis(30), None);
    tally.added(Duration::from_millis(30), Some(100));
    let web = ObjectName { namespace: "a".to_owned(), name: "web".to_owned() };
    tally.owns(&BTreeSet::from([web]));
    tally.owns(&BTreeSet::new());
    let text = tally.text(&figures);
    for line in [
        "sortie_dropped_packets_total{reason=\"drop_guard\"} 7",
        "sortie_route_next_hops{route=\"b\",state=\"unusable\"} 2",
        "sortie_reconcile_duration_seconds_count{outcome=\"verified\"} 1",
        "sortie_reconcile_failures_total{kind=\"cluster_unknown\"} 1",
        "sortie_reconcile_failures_total{kind=\"kernel\"} 0",
        "sortie_add_duration_seconds_bucket{le=\"0.05\",outcome=\"refused\"} 1",
        "sortie_ownership_changes_total{change=\"lost\"} 1",
        "sortie_replication_age_seconds 1.5",
        "sortie_api_watch_failing{kind=\"Pod\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_is_not_known_is_left_out() {
    let text = Tally::new().text(&Figures::default());
    assert!(!text.contains("sortie_peers") && !text.contains("replicat") && text.contains("sortie_ready 0"));
}
