//! What a node that may own next knows of the owners' connections.
//!
//! Guarantees: a picture counts only as a whole, and what it says nothing about any more stays as it was last told (an
//! owner that gives an address up stops telling before it forgets); at most [`CONNECTIONS_MAX`] connections are kept
//! (twice as many while a picture is replaced); what is not confirmed by a picture in time is forgotten; of two owners'
//! words those with the higher epoch count. Leaves out: who is heard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// Connections of Services that it does not tell about any more.
    former: Vec<Picture>,
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
        let others = self.owners.iter().filter(|(number, _)| **number != owner);
        let taken: usize = others.map(|(_, other)| other.len()).sum();
        let known = self.owners.entry(owner).or_default();
        match message {
            Message::Begin(paths) => known.draft = Some(Picture { paths, ..Picture::default() }),
            Message::Changes(changes) => {
                let room = CONNECTIONS_MAX.saturating_sub(taken + known.former_len());
                known.draft.as_mut().unwrap_or(&mut known.now).change(changes, room, now);
            }
            Message::End => {
                if let Some(draft) = known.draft.take() {
                    known.replace(draft);
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
        let pictures = self.owners.iter_mut().flat_map(|(number, owner)| {
            let former = owner.former.iter_mut();
            former.chain([&mut owner.now]).map(move |picture| (*number, picture))
        });
        let told = pictures.filter_map(|(number, picture)| Some((picture.epoch(service)?, number, picture)));
        let (_, owner, picture) = told.max_by_key(|(epoch, ..)| *epoch)?;
        Some(Inheritance { owner, connections: picture.take(service, now) })
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: Millis) {
        for owner in self.owners.values_mut() {
            let pictures = owner.former.iter_mut().chain([&mut owner.now]);
            pictures.for_each(|picture| picture.connections.retain(|_, (_, end)| *end > now));
            owner.former.retain(|picture| !picture.connections.is_empty());
        }
        self.owners.retain(|_, owner| owner.draft.is_some() || !owner.now.paths.is_empty() || owner.len() > 0);
    }

    /// Connections kept, those of unfinished pictures left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.owners.values().map(|owner| owner.now.connections.len() + owner.former_len()).sum()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Owner {
    /// Connections, with the larger of the present picture and the one that will replace it.
    fn len(&self) -> usize {
        let draft = self.draft.as_ref().map_or(0, |draft| draft.connections.len());
        self.former_len() + draft.max(self.now.connections.len())
    }

    fn former_len(&self) -> usize {
        self.former.iter().map(|picture| picture.connections.len()).sum()
    }

    fn replace(&mut self, picture: Picture) {
        let told: BTreeSet<&ObjectName> = picture.paths.iter().map(|path| &path.service).collect();
        let mut before = std::mem::take(&mut self.now);
        let Picture { paths, connections } = &mut before;
        let path = |connection: &Connection| paths.get(usize::from(connection.path));
        connections.retain(|_, (connection, _)| path(connection).is_some_and(|path| !told.contains(&path.service)));
        if !before.connections.is_empty() {
            self.former.push(before);
        }
        self.now = picture;
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

    fn take(&mut self, service: &ObjectName, now: Millis) -> Vec<(Option<String>, Connection)> {
        let Self { paths, connections } = self;
        let mut taken = Vec::new();
        connections.retain(|_, (connection, end)| {
            let path = paths.get(usize::from(connection.path)).filter(|path| path.service == *service);
            if let Some(path) = path.filter(|_| *end > now) {
                taken.push((path.route.clone(), *connection));
            }
            path.is_none()
        });
        taken
    }

    fn epoch(&self, service: &ObjectName) -> Option<u64> {
        self.paths.iter().filter(|path| path.service == *service).map(|path| path.epoch).max()
    }
}
