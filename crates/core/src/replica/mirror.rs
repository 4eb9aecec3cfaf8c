//! What an owner knows of its own connections.
//!
//! Guarantees: the changes it gives out, applied to the picture it gave out before them, make the next picture; only
//! connections of the paths it was given are in it, and at most [`CONNECTIONS_MAX`]. Leaves out: reading the kernel.

use std::collections::{BTreeMap, HashMap};

use super::{CHANGES_MAX, CONNECTIONS_MAX, Change, Connection, Flow, Message, PathName, Tracked, Transport};
use crate::ids::Mask;
use crate::state::Tuple;

/// Paths whose connections are told, by the value of this node's connection mark under the mask of paths.
pub type Paths = BTreeMap<u32, PathName>;

/// The connections of owned paths.
#[derive(Clone, Debug)]
pub struct Mirror {
    path: Mask,
    node: Mask,
    paths: Paths,
    /// Place in the list of paths, by value of the mark.
    places: HashMap<u32, u16>,
    connections: HashMap<Tuple, Connection>,
    omitted: usize,
}

impl Mirror {
    /// Empty; where the mark holds the path and the number of the pod's node.
    #[must_use]
    pub fn new(path: Mask, node: Mask) -> Self {
        Self { path, node, paths: Paths::new(), places: HashMap::new(), connections: HashMap::new(), omitted: 0 }
    }

    /// Begins anew with these paths and what the kernel holds.
    pub fn reset(&mut self, paths: Paths, tracked: impl IntoIterator<Item = Tracked>) {
        self.places = paths.keys().copied().zip(0..).collect();
        (self.paths, self.omitted) = (paths, 0);
        self.connections.clear();
        for tracked in tracked {
            self.see(tracked);
        }
    }

    /// Takes a connection as the kernel holds it now.
    pub fn see(&mut self, tracked: Tracked) -> Option<Change> {
        let tuple = tracked.flow.original;
        let before = self.connections.get(&tuple).copied();
        let Some(path) = self.place(tracked.mark) else { return self.lose(&tuple) };
        let node = u16::try_from(self.node.read(tracked.mark)).unwrap_or(0);
        let now = Connection { flow: told(tracked.flow, before.map(|before| before.flow)), path, node };
        if !now.flow.is_sound() || now.flow.is_tied() {
            return None;
        }
        if before.is_none() && self.connections.len() >= CONNECTIONS_MAX {
            self.omitted += 1;
            return None;
        }
        self.connections.insert(tuple, now);
        (!before.is_some_and(|before| is_same(before, now))).then_some(Change::Put(now))
    }

    /// Takes the end of a connection.
    pub fn lose(&mut self, tuple: &Tuple) -> Option<Change> {
        self.connections.remove(tuple).map(|gone| Change::Gone(gone.flow.original))
    }

    /// Everything, as messages.
    #[must_use]
    pub fn picture(&self) -> Vec<Message> {
        let puts: Vec<Change> = self.connections.values().map(|connection| Change::Put(*connection)).collect();
        let changes = puts.chunks(CHANGES_MAX).map(|chunk| Message::Changes(chunk.to_vec()));
        let begin = Message::Begin(self.paths.values().cloned().collect());
        [begin].into_iter().chain(changes).chain([Message::End]).collect()
    }

    /// Values of the mark under the mask of paths that are looked for.
    pub fn values(&self) -> impl Iterator<Item = u32> {
        self.paths.keys().copied()
    }

    /// The paths told.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Connections that are told.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Connections that found no room since the last reset.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    fn place(&self, mark: u32) -> Option<u16> {
        self.places.get(&(mark & self.path.0)).copied()
    }
}

/// A notification leaves the protocol's state out when that did not change.
fn told(now: Flow, before: Option<Flow>) -> Flow {
    match (now.transport, before) {
        (Transport::Plain, Some(before)) => Flow { transport: before.transport, ..now },
        _ => now,
    }
}

/// Whether only the remaining time differs.
fn is_same(before: Connection, now: Connection) -> bool {
    let flow = Flow { timeout: now.flow.timeout, ..before.flow };
    Connection { flow, ..before } == now
}
