//! What `explain` tells, as far as this node knows it by itself.
//!
//! Guarantees: what is said of a pod is what the last reconcile built for it, compared with the kernel as CHECK compares.
//! Leaves out: what becomes of the packet (`sortie_core::explain`), and what the kernel answers when it is asked for its
//! route ([`crate::witness`]).

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::explain::{Check, Explanation, Finding, Question, Scene, explain};
use sortie_core::model::{Family, ObjectName, Pod};
use sortie_kernel::Platform;

use super::{Held, Node};

impl<P: Platform> Node<P> {
    pub(super) async fn explain(&mut self, question: &Question) -> Explanation {
        let mut told = self.decided(question);
        told.look([self.helper_check()]);
        if let Some(held) = self.attached(question).cloned() {
            told.look(self.pod_checks(&held));
            told.look(self.state_checks(&held).await);
        }
        told
    }

    fn decided(&self, question: &Question) -> Explanation {
        let Some(held) = self.attached(question) else { return self.absent(question) };
        let Some(skeleton) = &self.skeleton else {
            let summary = "the helper has not finished its first reconcile".to_owned();
            return Explanation { summary, ..self.empty(question) };
        };
        let (owners, leased): (BTreeMap<_, _>, BTreeSet<ObjectName>) = (self.owner_names(), self.leased());
        let (world, node, devices, mode) = (&self.world, self.settings.node.as_str(), &self.devices, self.mode);
        let scene = Scene { world, node, skeleton, devices, mode, owners: &owners, leased: &leased };
        explain(&scene, &held.stored.attachment, question)
    }

    /// The pod's attachment; of several the one with an address of the destination's family.
    fn attached(&self, question: &Question) -> Option<&Held> {
        let is_this = |held: &&Held| {
            let pod = held.stored.attachment.pod.as_ref();
            pod.is_some_and(|pod| pod.namespace == question.pod.namespace && pod.name == question.pod.name)
        };
        let family = Family::of(question.destination);
        let speaks = |held: &&Held| held.stored.attachment.addresses.iter().any(|a| Family::of(*a) == family);
        let found = || self.attachments.values().chain(&self.adopted).filter(is_this);
        found().find(speaks).or_else(|| found().next())
    }

    fn empty(&self, question: &Question) -> Explanation {
        Explanation { node: self.settings.node.clone(), pod: question.pod.to_string(), ..Explanation::default() }
    }

    /// A pod that is not attached here, and where it is.
    fn absent(&self, question: &Question) -> Explanation {
        let (name, here) = (&question.pod, &self.settings.node);
        let summary = match self.world.pods.get(name) {
            Some(Pod { host_network: true, .. }) => format!(
                "Pod {name} is on the host's network, shares the node's address and is never selected: run it without hostNetwork"
            ),
            Some(pod) if !pod.node.is_empty() && pod.node != *here => {
                format!("Pod {name} runs on node {}: ask the helper there", pod.node)
            }
            Some(_) => format!(
                "Pod {name} is known and not attached on node {here}: it has not started, or it started before the plugin was in the CNI configuration and no address of it is known (`sortie-helper doctor`)"
            ),
            None => format!(
                "Pod {name} is not known on node {here}: look at namespace and name, and ask on the node where it runs; a pod that started before the plugin was in the CNI configuration must be started anew"
            ),
        };
        let mut told = Explanation { summary: summary.clone(), ..self.empty(question) };
        told.look([Check::new("pod", Finding::Fails, summary)]);
        told
    }

    fn helper_check(&self) -> Check {
        match &self.ready {
            Ok(()) => Check::new("helper", Finding::Ok, "the helper is ready: the last reconcile was verified"),
            Err(reason) => Check::new("helper", Finding::Fails, format!("the helper is not ready: {reason}")),
        }
    }

    fn pod_checks(&self, held: &Held) -> Vec<Check> {
        let attachment = &held.stored.attachment;
        let how = if attachment.container_id.is_empty() {
            Check::new("pod", Finding::Note, "the pod is older than the installation and was adopted")
        } else {
            Check::new("pod", Finding::Ok, format!("attached as container {}", attachment.container_id))
        };
        let unknown = (!self.knows(attachment)).then(|| {
            let message = "there is no Pod object of it: only its own annotations count, policies and Services that select by labels do not";
            Check::new("pod", Finding::Note, message)
        });
        [how].into_iter().chain(unknown).collect()
    }

    async fn state_checks(&mut self, held: &Held) -> Vec<Check> {
        match self.drift(held).await {
            Err(error) => vec![Check::new(
                "state",
                Finding::Fails,
                format!("the kernel cannot be read: {}", super::chain(&error)),
            )],
            Ok(drift) if drift.is_empty() => {
                vec![Check::new(
                    "state",
                    Finding::Ok,
                    "rules, routes and nft table are in the kernel as they should be",
                )]
            }
            Ok(drift) => {
                let told = |what: String| {
                    Check::new(
                        "state",
                        Finding::Fails,
                        format!("{what}; the helper repairs it, and somebody removes it if it stays so"),
                    )
                };
                drift.into_iter().map(told).collect()
            }
        }
    }
}
