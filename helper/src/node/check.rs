//! CHECK: what of an attachment is missing in the kernel, or there against our will.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sortie_core::desired::{Desired, Member};
use sortie_core::ids::TUNNEL_DEVICE;
use sortie_core::nft::named;
use sortie_core::plan::plan;
use sortie_core::state::{NftChange, NftEdit, NftElement, NftKey, NodeState, Route, RouteKind, Rule, Step};
use sortie_ipc::{AttachmentKey, Failure, Reply};
use sortie_kernel::Platform;

use super::attach::is_key;
use super::{Held, Node, NodeError, failure};

/// Most differences of one kind named.
const NAMED: usize = 8;

impl<P: Platform> Node<P> {
    /// Compares with the kernel as it is now; repairing is the reconcile's business. What concerns other
    /// attachments only is left out.
    pub(super) async fn check(&mut self, key: &AttachmentKey, addresses: &[IpAddr]) -> Result<Reply, Failure> {
        is_key(key)?;
        if !self.attachments.contains_key(key) {
            let drift = vec![format!("attachment {} {} is not known to the helper", key.container_id, key.interface)];
            return Ok(Reply::Checked { drift });
        }
        let (observed, desired) = self.compare().await.map_err(|e| failure(5, "kernel cannot be read", &e))?;
        let (Some(desired), Some(held)) = (desired, self.attachments.get(key)) else {
            return Ok(Reply::Checked { drift: vec!["the helper has not finished its first reconcile".to_owned()] });
        };
        let concern = Concern::of(held);
        let other = concern.other_addresses(addresses);
        Ok(Reply::Checked { drift: other.into_iter().chain(concern.drift(&observed, &desired)).collect() })
    }

    /// What of an attachment differs; nothing before the first reconcile.
    pub(super) async fn drift(&mut self, held: &Held) -> Result<Vec<String>, NodeError> {
        let (observed, desired) = self.compare().await?;
        Ok(desired.map(|desired| Concern::of(held).drift(&observed, &desired)).unwrap_or_default())
    }
}

/// Addresses and chains of one attachment.
struct Concern<'a> {
    addresses: &'a [IpAddr],
    member: &'a Member,
}

impl<'a> Concern<'a> {
    fn of(held: &'a Held) -> Self {
        Self { addresses: &held.stored.attachment.addresses, member: &held.member }
    }

    fn drift(&self, observed: &NodeState, desired: &Desired) -> Vec<String> {
        plan(observed, desired).into_iter().filter_map(|step| sentence(&self.narrow(step)?)).collect()
    }

    /// What the runtime believes and what was attached, when they differ.
    fn other_addresses(&self, believed: &[IpAddr]) -> Option<String> {
        let list = |addresses: &[IpAddr]| {
            let sorted: BTreeSet<_> = addresses.iter().map(IpAddr::to_string).collect();
            sorted.into_iter().collect::<Vec<_>>().join(", ")
        };
        let (believed, attached) = (list(believed), list(self.addresses));
        (believed != attached).then(|| format!("addresses of prevResult are {believed}, of the attachment {attached}"))
    }

    /// The part of a step that is this attachment's or everybody's.
    fn narrow(&self, step: Step) -> Option<Step> {
        match step {
            Step::EnsureRule(rule) => self.has_rule(&rule).then_some(Step::EnsureRule(rule)),
            Step::RemoveRule(rule) => self.has_rule(&rule).then_some(Step::RemoveRule(rule)),
            Step::Elements { family, remove, add } => {
                let (remove, add) = (self.elements(remove), self.elements(add));
                (!remove.is_empty() || !add.is_empty()).then_some(Step::Elements { family, remove, add })
            }
            Step::Nft(NftChange::Edit(edit)) => self.edit(edit),
            other => Some(other),
        }
    }

    fn edit(&self, edit: NftEdit) -> Option<Step> {
        let NftEdit { family, mut chains, remove, add, .. } = edit;
        chains.retain(|name, _| !is_interned(name) || self.member.chains.contains_key(name));
        let (remove, add) = (self.elements(remove), self.elements(add));
        if chains.is_empty() {
            return (!remove.is_empty() || !add.is_empty()).then_some(Step::Elements { family, remove, add });
        }
        Some(Step::Nft(NftChange::Edit(NftEdit { family, chains, remove, add, ..NftEdit::default() })))
    }

    fn has_rule(&self, rule: &Rule) -> bool {
        rule.from.is_none_or(|from| self.addresses.contains(&from.ip()))
    }

    fn elements(&self, mut elements: Vec<NftElement>) -> Vec<NftElement> {
        elements.retain(|e| match e.key {
            NftKey::Address(address) => self.addresses.contains(&address),
            NftKey::Mark(_) | NftKey::MarkAddress(..) => true,
        });
        elements
    }
}

/// Chains of assignments, `s_<digest>` and `d_<digest>`.
fn is_interned(chain: &str) -> bool {
    chain.starts_with("s_") || chain.starts_with("d_")
}

/// What a step would mend, in words; nothing for what is no state.
pub(super) fn sentence(step: &Step) -> Option<String> {
    Some(match step {
        Step::EnableSrcValidMark(device) => format!("src_valid_mark of {device} is 0"),
        Step::RestoreSrcValidMark(device) => format!("src_valid_mark of {device} is still 1"),
        Step::EnsureRoute(r) => format!("route is missing: {}", route(r)),
        Step::RemoveRoute(r) => format!("route is left over: {}", route(r)),
        Step::EnsureRule(r) => format!("rule is missing: {}", r),
        Step::RemoveRule(r) => format!("rule is left over: {}", r),
        Step::EnsureTunnel(_) => format!("device {TUNNEL_DEVICE} is missing or differs"),
        Step::RemoveTunnel => format!("device {TUNNEL_DEVICE} is left over"),
        Step::Nft(NftChange::Replace(table)) => {
            format!("nft table {} is missing or has another frame", named(table.family))
        }
        Step::Nft(NftChange::Delete(family)) => format!("nft table {} is left over", named(*family)),
        Step::Nft(NftChange::Edit(edit)) => {
            let chains: Vec<&str> = edit.chains.keys().chain(&edit.remove_chains).map(String::as_str).collect();
            let elements = elements(&edit.remove, &edit.add);
            format!("nft chains differ: {}; {elements}", chains.join(" "))
        }
        Step::Elements { remove, add, .. } => elements(remove, add),
        Step::PurgeConntrack(_) => return None,
    })
}

fn elements(remove: &[NftElement], add: &[NftElement]) -> String {
    let list = |elements: &[NftElement]| {
        let name = |e: &NftElement| match e.key {
            NftKey::Address(a) => format!("{} {a}", e.map),
            NftKey::Mark(m) => format!("{} {m:#x}", e.map),
            NftKey::MarkAddress(m, a) => format!("{} {m:#x} . {a}", e.map),
        };
        elements.iter().take(NAMED).map(name).collect::<Vec<_>>().join(", ")
    };
    format!("nft elements missing: [{}] left over: [{}]", list(add), list(remove))
}

fn route(route: &Route) -> String {
    let kind = match &route.kind {
        RouteKind::Throw => "throw",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Unicast { .. } => "unicast",
    };
    format!("{kind} {} table {}", route.destination, route.table)
}
