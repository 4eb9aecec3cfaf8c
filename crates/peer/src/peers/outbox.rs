//! Events on their way to the reader.
//!
//! Guarantees: no event but `Heard` is lost, and a slow reader never holds up the traffic. Leaves out: a bound on what
//! waits, as that grows with changes of the cluster only.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::PeerEvent;

#[derive(Debug)]
pub(super) struct Outbox {
    events: mpsc::Sender<PeerEvent>,
    waiting: VecDeque<PeerEvent>,
}

impl Outbox {
    pub(super) const fn new(events: mpsc::Sender<PeerEvent>) -> Self {
        Self { events, waiting: VecDeque::new() }
    }

    pub(super) fn put(&mut self, event: PeerEvent) {
        if !matches!(event, PeerEvent::Heard(..)) || self.waiting.is_empty() {
            self.waiting.push_back(event);
            self.flush();
        }
    }

    /// Hands over what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
        }
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_misses_only_heard() {
        let (events, mut read) = mpsc::channel(1);
        let mut outbox = Outbox::new(events);
        let heard = PeerEvent::Heard(2, std::time::Instant::now());
        for event in [PeerEvent::Up(2), PeerEvent::Down(2), heard, PeerEvent::Up(3)] {
            outbox.put(event);
        }
        let mut got = Vec::new();
        while let Ok(event) = read.try_recv() {
            got.push(event);
            outbox.flush();
        }
        assert!(matches!(got[..], [PeerEvent::Up(2), PeerEvent::Down(2), PeerEvent::Up(3)]), "{got:?}");
    }
}
