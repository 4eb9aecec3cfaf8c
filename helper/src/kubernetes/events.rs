//! Events about objects, for who can mend them.
//!
//! Guarantees: the same word about one object is said once in [`SILENCE`]; one helper says no more than [`BURST`] at
//! once and one in [`PACE`] after that; what cannot be said holds up nothing. Leaves out: what is worth an event, which
//! is known where it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use super::kinds;
use super::trouble::Trouble;
use super::write::answered;
use sortie_core::model::ObjectKey;

/// Time in which nothing is said twice.
const SILENCE: Duration = Duration::from_secs(600);
/// Events at once, and time until one more may be said.
const BURST: u32 = 20;
const PACE: Duration = Duration::from_secs(3);
/// Events that wait to be written; more are dropped.
const QUEUE: usize = 64;
/// Most bytes of a note, and most characters of an object's name in an event's.
const NOTE_MAX: usize = 1000;
const NAME_MAX: usize = 200;
/// Where events about objects without namespace are.
const DEFAULT: &str = "default";

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Happening {
    pub(crate) object: ObjectKey,
    pub(crate) uid: String,
    pub(crate) weight: Weight,
    /// One stable word.
    pub(crate) reason: String,
    pub(crate) note: String,
}

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    Normal,
    Warning,
}

/// Where happenings are told.
#[derive(Clone, Debug)]
pub(crate) struct Teller(Sender<Happening>);

impl Teller {
    /// A teller, and what it tells.
    pub(super) fn new() -> (Self, Receiver<Happening>) {
        let (sender, happenings) = channel(QUEUE);
        (Self(sender), happenings)
    }

    /// Tells it, unless too much is told already.
    pub(crate) fn tell(&self, happening: Happening) {
        if self.0.try_send(happening).is_err() {
            log::debug!("an event is dropped");
        }
    }
}

/// Writes what happens.
pub(super) async fn write(client: Client, node: String, mut happenings: Receiver<Happening>) {
    let (mut limit, mut trouble) = (Limit::new(Instant::now()), Trouble::default());
    while let Some(happening) = happenings.recv().await {
        if !limit.admits(&happening, Instant::now()) {
            continue;
        }
        let namespace = namespace(&happening).to_owned();
        let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let event = event(happening, &node);
        let outcome = answered(events.create(&PostParams::default(), &event)).await;
        trouble.has_failed("events cannot be written", outcome.map(drop));
    }
}

fn namespace(happening: &Happening) -> &str {
    let namespace = happening.object.name.namespace.as_str();
    if namespace.is_empty() { DEFAULT } else { namespace }
}

fn event(happening: Happening, node: &str) -> Event {
    let (now, namespace) = (Timestamp::now(), namespace(&happening).to_owned());
    let Happening { object, uid, weight, reason, note } = happening;
    let resource = kinds::of(object.kind).map(kinds::Watched::resource);
    let short: String = object.name.name.chars().take(NAME_MAX).collect();
    let name = format!("{}.{:x}", short.trim_end_matches(['.', '-']), now.as_nanosecond());
    let regarding = ObjectReference {
        api_version: resource.as_ref().map(|resource| resource.api_version.clone()),
        kind: resource.map(|resource| resource.kind),
        name: Some(object.name.name),
        namespace: Some(object.name.namespace).filter(|namespace| !namespace.is_empty()),
        uid: Some(uid).filter(|uid| !uid.is_empty()),
        ..ObjectReference::default()
    };
    let mut note = note;
    note.truncate(note.floor_char_boundary(NOTE_MAX));
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        event_time: Some(MicroTime(now)),
        action: Some("Route".to_owned()),
        reason: Some(reason),
        note: Some(note),
        regarding: Some(regarding),
        reporting_controller: Some("sortie.dev/helper".to_owned()),
        reporting_instance: Some(node.to_owned()),
        type_: Some(format!("{weight:?}")),
        ..Event::default()
    }
}

/// What was said lately, and how much more may be.
struct Limit {
    said: BTreeMap<Happening, Instant>,
    left: u32,
    since: Instant,
}

impl Limit {
    fn new(now: Instant) -> Self {
        Self { said: BTreeMap::new(), left: BURST, since: now }
    }

    fn admits(&mut self, happening: &Happening, now: Instant) -> bool {
        self.said.retain(|_, at| now.duration_since(*at) < SILENCE);
        while self.left < BURST && now.duration_since(self.since) >= PACE {
            (self.left, self.since) = (self.left + 1, self.since + PACE);
        }
        if self.left == BURST {
            self.since = now;
        }
        if self.left == 0 || self.said.contains_key(happening) {
            return false;
        }
        self.left -= 1;
        self.said.insert(happening.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use sortie_core::model::{Kind, ObjectName};

    use super::*;

    fn happening(name: &str) -> Happening {
        let name = ObjectName { namespace: "telco".to_owned(), name: name.to_owned() };
        let object = ObjectKey { kind: Kind::EgressPolicy, name };
        Happening { object, uid: "u".into(), weight: Weight::Warning, reason: "Invalid".into(), note: "é".repeat(900) }
    }

    #[test]
    fn the_same_word_is_said_once_and_again_after_a_while() {
        let now = Instant::now();
        let mut limit = Limit::new(now);
        assert!(limit.admits(&happening("a"), now) && limit.admits(&happening("b"), now));
        assert!(!limit.admits(&happening("a"), now + SILENCE / 2));
        assert!(limit.admits(&happening("a"), now + SILENCE));
    }

    #[test]
    fn one_helper_says_so_much_at_once_and_little_more_after_that() {
        let now = Instant::now();
        let mut limit = Limit::new(now);
        let mut said = |count: u32, prefix: &str, at| {
            (0..count).filter(|n| limit.admits(&happening(&format!("{prefix}{n}")), at)).count()
        };
        assert_eq!(said(100, "a", now), 20);
        assert_eq!(said(100, "b", now + PACE * 5), 5);
        assert_eq!(said(100, "c", now + PACE * 5), 0);
    }

    #[test]
    fn an_event_names_its_object_and_is_not_too_long() {
        let event = event(happening("sip"), "n1");
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.kind.as_deref(), Some("EgressPolicy"));
        assert_eq!(regarding.api_version.as_deref(), Some("sortie.dev/v1alpha1"));
        assert!(event.metadata.name.unwrap().starts_with("sip.") && event.note.unwrap().len() <= 1000);
        assert_eq!((event.type_.as_deref(), event.metadata.namespace.as_deref()), (Some("Warning"), Some("telco")));
    }
}
