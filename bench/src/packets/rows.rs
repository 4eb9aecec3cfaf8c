//! Tables, aims and plots.

use crate::figures::Figure;
use crate::plot::{Axis, Line, Plot, Scale};
use crate::report::Report;
use crate::statistics::{Summary, f64_of};
use crate::table::Table;

use super::measure::{Measured, Series};
use super::subject::{PODS, Part, VIPS, WITH_ADDRESSES, Way};

/// Largest ratio to the base that is aimed at for packets of running flows with marks.
const AIM: f64 = 1.25;
/// Indices of [`super::measure::Kind::ALL`].
const SELECTED: usize = 0;
const OTHER: usize = 1;
const NEW_SELECTED: usize = 2;
const KINDS: [&str; 4] =
    ["running, selected pod", "running, other pod", "new flow, selected pod", "new flow, other pod"];

/// A name and what it stands for with so many pods.
type Family = (&'static str, fn(usize) -> Way);

/// What is compared over numbers of pods.
const LINES: [Family; 4] = [
    ("sortie, marks", Way::Marks),
    ("sortie, rules", Way::Rules),
    ("iptables (nft) for each pod", Way::Iptables),
    ("`ip rule` for each pod", Way::RoutingRules),
];

/// All tables.
pub(super) fn report(all: &[Measured]) -> Report {
    let results = Results(all);
    let tables = vec![results.pods(), results.addresses(), results.parts()];
    let plots = vec![
        results.plot("running", OTHER, "Packet of a running flow of a pod that is not selected"),
        results.plot("new", NEW_SELECTED, "First packet of a flow of a selected pod"),
    ];
    Report { tables, figures: results.figures(), plots }
}

struct Results<'a>(&'a [Measured]);

impl Results<'_> {
    fn series(&self, way: Way, kind: usize) -> Option<&Series> {
        self.0.iter().find(|measured| measured.way == way).map(|measured| &measured.series[kind])
    }

    /// The ratio to the base of the same round; with what the sender costs taken from both, or not.
    fn ratio(&self, (way, kind): (Way, usize), share: Share) -> Summary {
        let of = |way| self.series(way, kind).map(|series| series.nanoseconds.as_slice()).unwrap_or_default();
        let (own, base, sender) = (of(way), of(Way::Base), of(Way::Sender));
        let ratios = own.iter().zip(base).zip(sender).map(|((own, base), sender)| match share {
            Share::Whole => own / base,
            Share::Node => (own - sender) / (base - sender),
        });
        Summary::of_numbers(ratios)
    }

    fn cell(&self, way: Way, kind: usize) -> String {
        let Summary { low, median, high } = self.ratio((way, kind), Share::Whole);
        format!("{median:.2} ({low:.2} to {high:.2}){}", self.lost(way, kind))
    }

    /// Said only when packets were lost.
    fn lost(&self, way: Way, kind: usize) -> String {
        match self.series(way, kind) {
            Some(series) if series.lost > 0 => format!(", {} of {} lost", series.lost, series.sent),
            _ => String::new(),
        }
    }

    fn nanoseconds(&self, way: Way, kind: usize) -> f64 {
        let series = self.series(way, kind).map(|series| series.nanoseconds.clone()).unwrap_or_default();
        Summary::of_numbers(series.into_iter()).median
    }

    fn pods(&self) -> Table {
        let base: Vec<String> = (0..4).map(|kind| format!("{:.0}", self.nanoseconds(Way::Base, kind))).collect();
        let caption = format!(
            "Time for a packet relative to the base, median and quartiles. The base takes {} ns (in the order of the \
             columns), of which {:.0} ns are the sender's. {} packets were lost.",
            base.join(", "),
            self.nanoseconds(Way::Sender, SELECTED),
            match self.all_lost() {
                0 => "No".to_owned(),
                count => count.to_string(),
            }
        );
        let columns = ["", "selected pods"].into_iter().chain(KINDS);
        let mut table = Table::new(columns).caption(&caption);
        for (name, way) in LINES {
            for pods in PODS {
                self.row(&mut table, [name.to_owned(), pods.to_string()], way(pods));
            }
        }
        table
    }

    fn addresses(&self) -> Table {
        let columns = ["", "addresses"].into_iter().chain(KINDS);
        let caption = format!("The same with addresses of Services as sources, {WITH_ADDRESSES} selected pods:");
        let mut table = Table::new(columns).caption(&caption);
        for count in VIPS {
            self.row(&mut table, ["sortie, marks".to_owned(), count.to_string()], Way::Addresses(count));
        }
        table
    }

    fn row(&self, table: &mut Table, head: [String; 2], way: Way) {
        table.row(head.into_iter().chain((0..4).map(|kind| self.cell(way, kind))));
    }

    fn parts(&self) -> Table {
        let caption = "Where it goes: running flows with marks and 1000 pods, with parts of ours taken away. *Node* is \
                       the ratio without what the sender costs.";
        let mut table =
            Table::new(["", "other pod", "other pod, node", "selected pod", "selected pod, node"]).caption(caption);
        let parts = Part::ALL.map(|part| (part_name(part), Way::Only(part), part.keeps_selected()));
        let ends = [("forwarding alone", Way::Plain, true), ("base", Way::Base, true)];
        for (name, way, both) in ends.into_iter().chain(parts).chain([("all of ours", Way::Marks(1000), true)]) {
            let node = |kind| format!("{:.2}", self.ratio((way, kind), Share::Node).median);
            let selected = if both { [self.cell(way, SELECTED), node(SELECTED)] } else { <[String; 2]>::default() };
            table.row([name.to_owned(), self.cell(way, OTHER), node(OTHER)].into_iter().chain(selected));
        }
        table
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for pods in PODS {
            for kind in [SELECTED, OTHER] {
                let name = format!("marks, {pods} pods, {}", KINDS[kind]);
                figures.push(Figure::new(
                    name,
                    self.ratio((Way::Marks(pods), kind), Share::Whole).median,
                    "of base",
                    AIM,
                ));
            }
        }
        figures.push(Figure::never("packets lost", self.all_lost(), "packets"));
        figures
    }

    /// Of whole ways: what is left of a part may rightly drop.
    fn all_lost(&self) -> usize {
        let whole = self.0.iter().filter(|measured| !matches!(measured.way, Way::Only(_)));
        let lost: u64 = whole.flat_map(|measured| &measured.series).map(|series| series.lost).sum();
        usize::try_from(lost).unwrap_or(usize::MAX)
    }

    fn plot(&self, name: &'static str, kind: usize, title: &str) -> Plot {
        let line = |(name, way): Family| {
            let point = |pods: usize| (f64_of(pods), self.ratio((way(pods), kind), Share::Whole).median);
            Line { name: name.replace('`', ""), points: PODS.map(point).to_vec() }
        };
        Plot {
            name,
            title: title.to_owned(),
            x: Axis { label: "selected pods", scale: Scale::Logarithmic },
            y: Axis { label: "time, of the base", scale: Scale::Logarithmic },
            lines: LINES.map(line).to_vec(),
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
enum Share {
    /// All of it, with what the sender costs.
    Whole,
    /// Without.
    Node,
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Rules => "base and our routing rules",
        Part::RulesAndHooks => "base, our routing rules, our base chains without a rule",
        Part::WithoutPre => "ours without `pre`",
        Part::WithoutPost => "ours without `post`",
        Part::WithoutGuard => "ours without `guard`",
    }
}
