//! What is compared, each on a node of its own.

use anyhow::Result;

use super::alternatives;
use super::product::{Order, Product};
use super::sink::Sink;
use super::site::{Site, Who};

/// Numbers of pods.
pub(super) const PODS: [usize; 4] = [10, 100, 1000, 10_000];
/// Numbers of addresses, with [`WITH_ADDRESSES`] pods.
pub(super) const VIPS: [usize; 3] = [1, 100, 4000];
/// Pods behind the addresses.
pub(super) const WITH_ADDRESSES: usize = 4000;
/// Pods where parts are taken away.
const WITH_PARTS: usize = 1000;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The far end of the sending pod's device: what the sender costs.
    Sender,
    /// Forwarding alone.
    Plain,
    /// Forwarding, connection tracking, kube-proxy and masquerade.
    Base,
    /// Ours, with so many pods.
    Marks(usize),
    /// Ours, with per-pod rules.
    Rules(usize),
    /// Ours, with so many addresses of Services.
    Addresses(usize),
    /// A routing rule for each pod.
    RoutingRules(usize),
    /// An iptables rule for each pod.
    Iptables(usize),
    /// Ours, of which only a part is left.
    Only(Part),
}

/// What is left of ours; selected pods are not steered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Routing rules.
    Rules,
    /// Routing rules, and base chains without a rule. Base chains alone would not show: a network that once had a routing
    /// rule looks routes up the slow way for ever.
    RulesAndHooks,
    /// Everything but the chain that marks.
    WithoutPre,
    /// Everything but the chain that translates.
    WithoutPost,
    /// Everything but the guard.
    WithoutGuard,
}

impl Part {
    pub(super) const ALL: [Self; 5] =
        [Self::Rules, Self::RulesAndHooks, Self::WithoutPre, Self::WithoutPost, Self::WithoutGuard];

    /// Whether a selected packet still takes the same way.
    pub(super) fn keeps_selected(self) -> bool {
        matches!(self, Self::WithoutPost | Self::WithoutGuard)
    }
}

impl Way {
    /// Everything that is measured.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Sender, Self::Plain, Self::Base];
        for make in [Self::Marks, Self::Rules, Self::Iptables, Self::RoutingRules] {
            all.extend(PODS.map(make));
        }
        all.extend(VIPS.map(Self::Addresses));
        all.extend(Part::ALL.map(Self::Only));
        all
    }

    /// Whether a selected pod leaves by the second way.
    fn is_steering(self) -> bool {
        !matches!(self, Self::Sender | Self::Plain | Self::Base | Self::Only(_))
    }

    fn order(self) -> Option<Order> {
        let order = |steering, pods, addresses| Some(Order { steering, pods, addresses });
        match self {
            Self::Marks(pods) => order("marks", pods, 0),
            Self::Rules(pods) => order("rules", pods, 0),
            Self::Addresses(count) => order("marks", WITH_ADDRESSES, count),
            Self::Only(_) => order("marks", WITH_PARTS, 0),
            _ => None,
        }
    }
}

/// A node that is ready to be measured.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) way: Way,
    pub(super) site: Site,
    pub(super) sink: Sink,
    _product: Option<Product>,
}

impl Subject {
    /// Builds it; `proxy` are kube-proxy's rules.
    ///
    /// # Errors
    /// When something of it does not work.
    pub(super) fn new(way: Way, proxy: &str) -> Result<Self> {
        let site = Site::new()?;
        if !matches!(way, Way::Sender | Way::Plain) {
            alternatives::restore(&site.node, proxy)?;
        }
        match way {
            Way::RoutingRules(count) => alternatives::routing_rules(&site, count)?,
            Way::Iptables(count) => alternatives::iptables(&site, count)?,
            _ => {}
        }
        if !matches!(way, Way::Sender | Way::Plain) {
            alternatives::masquerade(&site.node)?;
        }
        let product = way.order().map(|order| Product::start(&site, order)).transpose()?;
        if let Way::Only(part) = way {
            part.leave(&site)?;
        }
        let sink = if way == Way::Sender { site.sink_on_node()? } else { site.sink()? };
        Ok(Self { way, site, sink, _product: product })
    }

    /// Whether packets of a pod are to leave by the second way; nothing where that says nothing.
    pub(super) fn second(&self, who: Who) -> Option<bool> {
        (self.way != Way::Sender && !matches!(self.way, Way::Only(_)))
            .then_some(self.way.is_steering() && who == Who::Selected)
    }
}
