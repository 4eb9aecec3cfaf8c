//! What plugins ask.
//!
//! Guarantees: a pod that other objects than itself may select does not start unseen; while the source is asked for
//! one pod, everything else goes on; nothing is done for a plugin that has stopped waiting for it. Leaves out: the
//! answers ([`crate::node`]).

use std::time::Duration;

use sortie_core::explain::Question;
use sortie_core::model::PodReference;
use sortie_ipc::{Failure, Reply, Request};
use tokio::sync::oneshot;

use super::Daemon;
use super::clock::RETRY;
use crate::kubernetes::Answer;
use crate::node::CODE_AGAIN;
use crate::server::Ask;
use crate::source::Lookup;
use crate::witness;

/// After attachments came or went: time for the plugin to finish its part.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the count of refused messages is waited for.
const REFUSED: Duration = Duration::from_millis(100);

/// A request, and what the source said of its pod.
pub(super) type Told = (Ask, Answer);

impl Daemon {
    /// Answers at once, or when it is known what was asked of the source.
    pub(super) async fn take(&mut self, ask: Ask) {
        let Some(question) = self.question(&ask.0) else { return self.answer(ask).await };
        let told = self.told.0.clone();
        tokio::spawn(async move {
            let answer = question.await;
            // Nobody is told when everything ends.
            let _ = told.send((ask, answer)).await;
        });
    }

    /// A pod may be faster than the watch.
    fn question(&self, request: &Request) -> Option<impl Future<Output = Answer> + 'static> {
        let Request::Attach(attachment) = request else { return None };
        let pod = attachment.pod.as_ref().filter(|pod| self.node.is_of_interest(&pod.namespace))?;
        if self.node.knows(attachment) { None } else { self.source.ask_for(pod) }
    }

    pub(super) async fn hear(&mut self, (ask, answer): (Ask, Answer)) {
        if ask.1.is_closed() {
            return log::debug!("nobody waits for the answer any more");
        }
        let lookup = self.source.learn(answer);
        if lookup == Lookup::Found {
            self.read_source();
        }
        match self.unknown(&ask.0, lookup) {
            Some(failure) => drop(ask.1.send(Reply::Failed(failure))),
            None => self.answer(ask).await,
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

    async fn answer(&mut self, (request, back): Ask) {
        let changes = matches!(request, Request::Attach(_) | Request::Detach(_) | Request::Gc { .. });
        if let Request::Explain(question) = request {
            return self.explain(question, back).await;
        }
        let mut reply = self.node.handle(request).await;
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

fn not_known(pod: &PodReference, reason: &str) -> Failure {
    Failure {
        code: CODE_AGAIN,
        message: "the pod is not known yet".to_owned(),
        details: format!(
            "something in namespace {} asks for routes, and pod {} was not found: {reason}",
            pod.namespace, pod.name
        ),
    }
}
