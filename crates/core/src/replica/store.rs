//! What a node that may own next knows of the owners' connections.
//!
//! Guarantees: a picture counts only as a whole; at most [`CONNECTIONS_MAX`] connections are kept
//! (twice as many while a picture is replaced); what is not confirmed
//! by a picture in time is forgotten; of two owners' words the one with the higher epoch counts. Leaves out: who is heard.

use std::collections::{BTreeMap, HashMap};

use super::{CONNECTIONS_MAX, Change, Connection, Message, PICTURE, PathName};
use crate::model::ObjectName;
use crate::ownership::Millis;
use crate::state::Tuple;

/// A connection without its owner's confirmation lives this much longer than its own time, in milliseconds.
const GRACE: u64 = PICTURE + PICTURE / 2;

/// Connections of other nodes.
#[derive(Debug, Default)]
pub struct Replica {
    owners: BTreeMap<u16, Owner>,
}

/// What one owner told.
#[derive(Debug, Default)]
struct Owner {
    now: Picture,
    /// A picture that is not whole yet.
    draft: Option<Picture>,
}

#[derive(Debug, Default)]
struct Picture {
    paths: Vec<PathName>,
    /// With the end of their time.
    connections: HashMap<Tuple, (Connection, Millis)>,
}

/// Connections of a Service's addresses that their last owner told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inheritance {
    /// Number of that owner.
    pub owner: u16,
    /// Route of the path and connection.
    pub connections: Vec<(Option<String>, Connection)>,
}

impl Replica {
    /// Takes what an owner tells.
    pub fn hear(&mut self, owner: u16, message: Message, now: Millis) {
        match message {
            Message::Begin(paths) => {
                let draft = Picture { paths, ..Picture::default() };
                self.owners.entry(owner).or_default().draft = Some(draft);
            }
            Message::Changes(changes) => {
                let others = self.owners.iter().filter(|(number, _)| **number != owner);
                let taken: usize = others.map(|(_, other)| other.largest()).sum();
                let known = self.owners.entry(owner).or_default();
                let room = CONNECTIONS_MAX.saturating_sub(taken);
                known.draft.as_mut().unwrap_or(&mut known.now).change(changes, room, now);
            }
            Message::End => {
                let known = self.owners.entry(owner).or_default();
                if let Some(draft) = known.draft.take() {
                    known.now = draft;
                }
            }
        }
    }

    /// The owner is not heard any more: a picture it began will not become whole.
    pub fn lost(&mut self, owner: u16) {
        if let Some(owner) = self.owners.get_mut(&owner) {
            owner.draft = None;
        }
    }

    /// The connections of a Service, once: by its last owner, which is the one with the highest epoch.
    pub fn take(&mut self, service: &ObjectName, now: Millis) -> Option<Inheritance> {
        let epoch = |owner: &Owner| owner.now.epoch(service);
        let (number, owner) = self.owners.iter_mut().max_by_key(|(_, owner)| epoch(owner))?;
        epoch(owner)?;
        let Picture { paths, connections } = &mut owner.now;
        let of_service =
            |connection: &Connection| paths.get(usize::from(connection.path)).filter(|path| path.service == *service);
        let mut taken = Vec::new();
        connections.retain(|_, (connection, end)| {
            let Some(path) = of_service(connection) else { return true };
            if *end > now {
                taken.push((path.route.clone(), *connection));
            }
            false
        });
        Some(Inheritance { owner: *number, connections: taken })
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: Millis) {
        for owner in self.owners.values_mut() {
            owner.now.connections.retain(|_, (_, end)| *end > now);
        }
        self.owners.retain(|_, owner| owner.draft.is_some() || !owner.now.connections.is_empty());
    }

    /// Connections kept, those of unfinished pictures left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.owners.values().map(|owner| owner.now.connections.len()).sum()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Owner {
    /// Connections of the larger of its pictures.
    fn largest(&self) -> usize {
        let draft = self.draft.as_ref().map_or(0, |draft| draft.connections.len());
        draft.max(self.now.connections.len())
    }
}

impl Picture {
    /// Up to `room` connections in all.
    fn change(&mut self, changes: Vec<Change>, room: usize, now: Millis) {
        for change in changes {
            match change {
                Change::Put(connection) if usize::from(connection.path) < self.paths.len() => {
                    let tuple = connection.flow.original;
                    let end = now.plus(u64::from(connection.flow.timeout) * 1000 + GRACE);
                    if self.connections.len() < room || self.connections.contains_key(&tuple) {
                        self.connections.insert(tuple, (connection, end));
                    }
                }
                Change::Put(_) => {}
                Change::Gone(tuple) => {
                    self.connections.remove(&tuple);
                }
            }
        }
    }

    fn epoch(&self, service: &ObjectName) -> Option<u64> {
        self.paths.iter().filter(|path| path.service == *service).map(|path| path.epoch).max()
    }
}
