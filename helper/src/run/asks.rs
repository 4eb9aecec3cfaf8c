//! What plugins ask.
//!
//! Guarantees: a pod that other objects than itself may select does not start unseen; while the source is asked for
//! one pod, everything else goes on; nothing is done for a plugin that has stopped waiting for it. Leaves out: the
//! answers ([`crate::node`]).

use std::time::Duration;

use sortie_core::cni::code;
use sortie_core::explain::Question;
use sortie_core::model::{Kind, ObjectKey, ObjectName, PodReference};
use sortie_ipc::{Failure, Reply, Request};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Daemon;
use super::clock::RETRY;
use crate::kubernetes::Answer;
use crate::kubernetes::events::{Happening, Weight};
use crate::server::Ask;
use crate::source::Lookup;
use crate::witness;

/// After attachments or their devices came or went: time for the plugins to finish their part.
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// How long the count of refused messages is waited for.
const REFUSED: Duration = Duration::from_millis(100);

/// A request, what the source said of its pod, and when it was taken up.
pub(super) type Told = (Ask, Answer, Instant);

impl Daemon {
    /// Answers at once, or when it is known what was asked of the source.
    pub(super) async fn take(&mut self, ask: Ask) {
        let began = Instant::now();
        let Some(question) = self.question(&ask.0) else { return self.answer(ask, began).await };
        let told = self.told.0.clone();
        tokio::spawn(async move {
            let answer = question.await;
            // Nobody is told when everything ends.
            let _ = told.send((ask, answer, began)).await;
        });
    }

    /// A pod may be faster than the watch.
    fn question(&self, request: &Request) -> Option<impl Future<Output = Answer> + 'static> {
        let Request::Attach(attachment) = request else { return None };
        let pod = attachment.pod.as_ref().filter(|pod| self.node.is_of_interest(&pod.namespace))?;
        if self.node.knows(attachment) { None } else { self.source.ask_for(pod) }
    }

    pub(super) async fn hear(&mut self, (ask, answer, began): Told) {
        if ask.1.is_closed() {
            return log::debug!("nobody waits for the answer any more");
        }
        let lookup = self.source.learn(answer);
        if lookup == Lookup::Found {
            self.read_source();
        }
        match self.unknown(&ask.0, lookup) {
            Some(failure) => {
                self.tally.added(began.elapsed(), Some(failure.code));
                let _ = ask.1.send(Reply::Failed(failure));
            }
            None => self.answer(ask, began).await,
        }
    }

    /// Where others than its own annotations may select it, a pod does not start unseen.
    fn unknown(&self, request: &Request, lookup: Lookup) -> Option<Failure> {
        let Request::Attach(attachment) = request else { return None };
        let pod = attachment.pod.as_ref()?;
        let reason = match lookup {
            Lookup::Absent => return None,
            Lookup::Unknown(reason) => reason,
            Lookup::Found => "there is another one of that name".to_owned(),
        };
        if self.node.knows(attachment) { None } else { Some(not_known(pod, &reason)) }
    }

    fn has_added(&self, pod: Option<&PodReference>, reply: &Reply, time: Duration) {
        let failure = if let Reply::Failed(failure) = reply { Some(failure) } else { None };
        self.tally.added(time, failure.map(|failure| failure.code));
        if let (Some(failure), Some(pod)) = (failure, pod) {
            self.tell_refusal(pod, failure);
        }
    }

    /// The runtime tries again and again; the event is told once.
    fn tell_refusal(&self, pod: &PodReference, failure: &Failure) {
        let Some(reason) = reason(failure.code) else { return };
        let name = ObjectName { namespace: pod.namespace.clone(), name: pod.name.clone() };
        let known = self.node.world().pods.get(&name).map(|pod| pod.meta.uid.clone());
        self.source.tell(|| Happening {
            object: ObjectKey { kind: Kind::Pod, name },
            uid: if pod.uid.is_empty() { known.unwrap_or_default() } else { pod.uid.clone() },
            weight: Weight::Warning,
            reason: reason.to_owned(),
            note: format!("the pod is not added to its network: {failure}"),
        });
    }

    async fn answer(&mut self, (request, back): Ask, began: Instant) {
        let changes = matches!(request, Request::Attach(_) | Request::Detach(_) | Request::Gc { .. });
        if let Request::Explain(question) = request {
            return self.explain(question, back).await;
        }
        let added = if let Request::Attach(attachment) = &request { Some(attachment.pod.clone()) } else { None };
        let mut reply = self.node.handle(request).await;
        if let Some(pod) = added {
            self.has_added(pod.as_ref(), &reply, began.elapsed());
        }
        if let (Reply::Status(report), Some(ownership)) = (&mut reply, &self.ownership) {
            report.refused = ownership.refused(REFUSED).await;
        }
        if back.send(reply).is_err() {
            log::debug!("nobody waits for the answer any more");
        }
        if changes {
            self.clock.within(if self.node.ready().is_ok() { SETTLE } else { RETRY });
        }
    }

    /// The kernel is asked aside: its table of connections may be long.
    async fn explain(&mut self, question: Question, back: oneshot::Sender<Reply>) {
        let mut reply = self.node.handle(Request::Explain(question.clone())).await;
        let numbers = self.options.place.numbers;
        tokio::spawn(async move {
            if let Reply::Explained(told) = &mut reply {
                witness::testify(told, &question, numbers).await;
            }
            // Who has stopped waiting is not told.
            let _ = back.send(reply);
        });
    }
}

/// Only what somebody has to mend is told: everything else is tried again by the runtime.
fn reason(code: u32) -> Option<&'static str> {
    Some(match code {
        code::ROUTE_NOT_FOUND => "RouteNotFound",
        code::NAMESPACE_NOT_ALLOWED => "NamespaceNotAllowed",
        code::REQUEST_INVALID => "Invalid",
        code::POD_CIDR_UNKNOWN => "PodNetworkUnknown",
        code::NOT_ROUTED => "NotOnHostPath",
        code::CONFLICT => "Conflicted",
        code::ADDRESS_UNUSABLE => "NoAddress",
        _ => return None,
    })
}

fn not_known(pod: &PodReference, reason: &str) -> Failure {
    Failure {
        code: code::TRY_AGAIN,
        message: "the pod is not known yet".to_owned(),
        details: format!(
            "something in namespace {} asks for routes, and pod {} was not found: {reason}",
            pod.namespace, pod.name
        ),
    }
}
