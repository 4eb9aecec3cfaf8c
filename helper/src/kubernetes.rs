//! The Kubernetes API: our kinds as it knows them, and what it holds.
//!
//! Guarantees: objects are read like manifests, one by one and as early as possible, and only what selection needs
//! is kept; nothing counts before every watch has told all it has; what a watch does not tell again when it begins
//! anew is gone. Leaves out: the last good state of what is refused, which is the catalogue's.

mod connect;
pub(crate) mod crds;
mod entries;
pub(crate) mod events;
pub(crate) mod forget;
pub(crate) mod kinds;
mod leader;
mod numbers;
mod services;
mod statuses;
mod taint;
mod trouble;
mod types;
mod watch;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sortie_core::manifest::Document;
use sortie_core::model::{Kind, Object, ObjectKey, ObjectName, PodReference, Reason, Rejection};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

use crate::burst::Burst;
use crate::catalogue::Holding;
use crate::cli::KubernetesOptions;
use crate::due::Due;
use crate::source::Lookup;
use events::{Happening, Teller};

/// How long a pod that is about to start is asked for.
const ASK: Duration = Duration::from_secs(1);

/// Something that was heard about one kind.
#[derive(Debug)]
struct Notice {
    kind: Kind,
    news: News,
}

#[derive(Debug)]
enum News {
    /// Everything there is.
    All(Vec<Document>),
    /// New, or changed.
    One(Box<Document>),
    Gone(ObjectKey),
    /// Numbers of nodes.
    Numbers(BTreeMap<String, u16>),
    /// The API does not answer, or answers again.
    Trouble(Option<String>),
}

/// A request for one pod.
#[derive(Debug)]
struct Question {
    pod: ObjectName,
    answer: oneshot::Sender<Answer>,
}

/// The pod, if there is one, or why it is not known.
pub(crate) type Answer = Result<Option<Document>, String>;

/// The API as seen from one node.
#[derive(Debug)]
pub(crate) struct Api {
    notices: UnboundedReceiver<Notice>,
    questions: UnboundedSender<Question>,
    /// What the API should say.
    due: tokio::sync::watch::Sender<Due>,
    events: Teller,
    shelf: BTreeMap<ObjectKey, Document>,
    /// Of the objects that were read last.
    generations: BTreeMap<ObjectKey, i64>,
    listed: BTreeSet<Kind>,
    /// By the name of the Node.
    numbers: BTreeMap<String, u16>,
    troubles: BTreeMap<Kind, String>,
    burst: Burst,
}

impl Api {
    /// Watches from now on, in a thread that ends with this value and takes the startup taint from the node, if there
    /// is to be one.
    pub(crate) async fn watch(node: &str, options: &KubernetesOptions) -> anyhow::Result<Self> {
        let (due, proposed) = tokio::sync::watch::channel(Due::default());
        let (events, happenings) = Teller::new();
        let told = watch::Told { due: proposed, teller: events.clone(), happenings };
        let (notices, questions) = watch::start(node, options, told).await?;
        Ok(Self {
            notices,
            questions,
            due,
            events,
            shelf: BTreeMap::new(),
            generations: BTreeMap::new(),
            listed: BTreeSet::new(),
            numbers: BTreeMap::new(),
            troubles: BTreeMap::new(),
            burst: Burst::default(),
        })
    }

    /// Waits until everything was told once.
    pub(crate) async fn complete(&mut self) {
        while !self.is_complete() {
            self.hear().await;
        }
    }

    /// Waits until a burst of changes is over. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        loop {
            match self.burst.due() {
                None => self.hear().await,
                Some(due) => tokio::select! {
                    () = self.hear() => {}
                    () = sleep_until(due) => break,
                },
            }
        }
        self.burst.ends();
    }

    /// What is known.
    pub(crate) fn holding(&mut self) -> Holding<'_> {
        let generation = |(key, document): (&ObjectKey, &Document)| Some((key.clone(), document.generation?));
        self.generations =
            self.shelf.iter().filter(|(key, _)| kinds::has_status(key.kind)).filter_map(generation).collect();
        Holding { objects: self.is_complete().then_some(&self.shelf), troubles: self.troubles() }
    }

    /// What the API should say by what is known now. What is not all known proposes nothing.
    pub(crate) fn propose(&self, due: impl FnOnce() -> Due) {
        let mut due = if self.is_complete() { due() } else { Due::default() };
        for (kind, objects) in &mut due.judged {
            for (name, judged) in objects {
                let key = ObjectKey { kind: *kind, name: name.clone() };
                judged.generation = self.generations.get(&key).copied();
            }
        }
        self.due.send_if_modified(|known| {
            let changed = *known != due;
            *known = due;
            changed
        });
    }

    /// Kinds that are watched, and whether that fails at present.
    pub(crate) fn watches(&self) -> BTreeMap<String, bool> {
        let fails =
            |watched: &kinds::Watched| (format!("{:?}", watched.kind), self.troubles.contains_key(&watched.kind));
        kinds::ALL.iter().map(fails).collect()
    }

    /// Tells of something that happened to an object.
    pub(crate) fn tell(&self, happening: Happening) {
        self.events.tell(happening);
    }

    /// Asks for one pod, once and not for long. Others go on meanwhile.
    pub(crate) fn ask_for(&self, pod: &PodReference) -> impl Future<Output = Answer> + 'static {
        let name = ObjectName { namespace: pod.namespace.clone(), name: pod.name.clone() };
        let (answer, answered) = oneshot::channel();
        // Without a thread that answers, the answer is dropped at once.
        let _ = self.questions.send(Question { pod: name, answer });
        async move {
            match timeout(ASK, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err("the Kubernetes API does not answer".to_owned()),
            }
        }
    }

    /// Takes an answer to heart.
    pub(crate) fn learn(&mut self, answer: Answer) -> Lookup {
        match answer {
            Ok(Some(document)) => {
                let is_refused = document.object.is_err();
                self.put(document);
                // Its own annotations came with the request, and are refused there.
                if is_refused { Lookup::Absent } else { Lookup::Found }
            }
            Ok(None) => Lookup::Unknown("the Kubernetes API has no such pod".to_owned()),
            Err(error) => Lookup::Unknown(error),
        }
    }

    async fn hear(&mut self) {
        match self.notices.recv().await {
            Some(notice) => self.take(notice),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, Notice { kind, news }: Notice) {
        match news {
            News::All(documents) => {
                self.listed.insert(kind);
                self.shelf.retain(|key, _| key.kind != kind);
                documents.into_iter().for_each(|document| self.put(document));
                self.burst.goes_on();
            }
            News::One(document) => self.put(*document),
            News::Gone(key) => {
                self.shelf.remove(&key);
                self.burst.goes_on();
            }
            News::Numbers(numbers) => {
                log::debug!("numbers of nodes {numbers:?}");
                self.numbers = numbers;
                let nodes = self.shelf.values().filter(|document| matches!(document.object, Ok(Object::Node(_))));
                nodes.cloned().collect::<Vec<_>>().into_iter().for_each(|document| self.put(document));
            }
            News::Trouble(Some(error)) => {
                if self.troubles.get(&kind) != Some(&error) {
                    log::warn!("the Kubernetes API fails for kind={kind:?} error={error}");
                    self.troubles.insert(kind, error);
                    self.burst.goes_on();
                }
            }
            News::Trouble(None) => {
                if self.troubles.remove(&kind).is_some() {
                    log::info!("the Kubernetes API answers again for kind={kind:?}");
                    self.burst.goes_on();
                }
            }
        }
    }

    /// Most changes of objects are none to us.
    fn put(&mut self, mut document: Document) {
        if let Ok(Object::Node(node)) = &mut document.object
            && !node.has_own_number()
        {
            node.number = self.numbers.get(&node.name).copied();
        }
        let Some(key) = document.key.clone() else { return };
        if self.shelf.get(&key) != Some(&document) {
            self.shelf.insert(key, document);
            self.burst.goes_on();
        }
    }

    fn is_complete(&self) -> bool {
        kinds::ALL.iter().all(|watched| self.listed.contains(&watched.kind))
    }

    fn troubles(&self) -> Vec<Rejection> {
        let known = if self.is_complete() { "what was read last" } else { "what the last helper knew" };
        let told = |(kind, error): (&Kind, &String)| Rejection {
            reason: Reason::Invalid,
            object: "Kubernetes API".to_owned(),
            field: format!("{kind:?}"),
            message: format!("cannot be read: {error}"),
            remedy: format!(
                "{known} stays in force; see the API server, its custom resource definitions and the role of sortie-helper"
            ),
        };
        self.troubles.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests;
