//! What of one Service passed the switch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::{Kind, NODES, Wire};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// For how long everything is as it should be before the power is cut.
const CALM: Duration = Duration::from_secs(2);
/// Packets of each kind in that time, at least, and as many afterwards.
const ENOUGH: usize = 50;
/// Longest time until it is.
const LIMIT: Duration = Duration::from_secs(120);
/// What is not served for so long after a strike is not served again.
const GIVEN_UP: Duration = Duration::from_secs(45);

/// What a packet tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A pod was answered with the address, in a flow that runs.
    Running,
    /// A pod was answered with the address, in a new flow.
    New,
    /// A caller was answered by this node.
    Caller,
    /// A datagram had another address, or left by another way.
    Astray,
}

struct Seen {
    at: Instant,
    /// Who sent the packet that tells it.
    node: usize,
    what: What,
    /// Whose it is; empty for answers to callers.
    pod: String,
}

/// Everything since its start.
pub(super) struct Watch<'a> {
    wire: &'a Wire,
    /// How names of the pods begin.
    prefix: String,
    address: IpAddr,
    seen: Vec<Seen>,
    /// When each pod sent last, whatever it was.
    heard: BTreeMap<String, Instant>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(wire: &'a Wire, app: &str, address: IpAddr) -> Result<Self> {
        wire.take()?;
        Ok(Self { wire, prefix: format!("{app}-"), address, seen: Vec::new(), heard: BTreeMap::new() })
    }

    /// Waits until pods of all nodes send, at least so many of them are answered with the address, and callers are by one
    /// node; returns the node, or nothing when that takes too long.
    pub(super) fn settled(&mut self, pods: usize) -> Result<Option<usize>> {
        let end = Instant::now() + LIMIT;
        loop {
            self.look()?;
            let owner = self.owner(pods);
            if owner.is_some() || Instant::now() > end {
                return Ok(owner);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until pods and callers are answered with the address after the strike, or it is too late for that.
    pub(super) fn again(&mut self, struck: Instant) -> Result<()> {
        let many = |watch: &Self, what| watch.after(struck, what).take(ENOUGH).count() == ENOUGH;
        while struck.elapsed() < GIVEN_UP && !(many(self, What::New) && many(self, What::Caller)) {
            std::thread::sleep(PAUSE);
            self.look()?;
        }
        Ok(())
    }

    /// Longest time without it from the last time before the strike on; nothing when it did not come afterwards.
    pub(super) fn silence(&self, struck: Instant, what: What) -> Option<Duration> {
        let mut before = self.seen.iter().rev().filter(|seen| seen.what == what && seen.at <= struck);
        let mut last = before.next().map_or(struck, |seen| seen.at);
        let gaps = self.after(struck, what).map(|seen| seen.at.duration_since(std::mem::replace(&mut last, seen.at)));
        gaps.max()
    }

    /// Datagrams that went astray from the strike until a pod was answered with the address.
    pub(super) fn astray(&self, struck: Instant) -> usize {
        let again = self.after(struck, What::New).next().map(|seen| seen.at);
        self.after(struck, What::Astray).filter(|seen| again.is_none_or(|again| seen.at < again)).count()
    }

    fn after(&self, at: Instant, what: What) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.what == what && seen.at > at)
    }

    fn owner(&self, pods: usize) -> Option<usize> {
        let recent: Vec<&Seen> = self.seen.iter().filter(|seen| seen.at.elapsed() < CALM).collect();
        let of = |what| recent.iter().filter(move |seen| seen.what == what);
        let with: BTreeSet<&str> = of(What::New).map(|seen| seen.pod.as_str()).collect();
        let nodes: BTreeSet<usize> = of(What::Caller).map(|seen| seen.node).collect();
        let is_calm = of(What::New).count() >= ENOUGH && of(What::Caller).count() >= ENOUGH;
        let heard = self.heard.values().filter(|last| last.elapsed() < CALM).count();
        (is_calm && heard == NODES.len() && with.len() >= pods && nodes.len() == 1)
            .then(|| nodes.first().copied())
            .flatten()
    }

    fn look(&mut self) -> Result<()> {
        for passed in self.wire.take()? {
            let (at, node, is_right) = (passed.at, passed.node, passed.is_right(self.address));
            let (said, what) = match passed.kind {
                Kind::Caller if is_right => {
                    self.seen.push(Seen { at, node, what: What::Caller, pod: String::new() });
                    continue;
                }
                Kind::Caller => continue,
                Kind::Running(said) => (said, What::Running),
                Kind::New(said) => (said, What::New),
            };
            if !said.pod.starts_with(&self.prefix) {
                continue;
            }
            self.heard.insert(said.pod.clone(), at);
            if !is_right {
                self.seen.push(Seen { at, node, what: What::Astray, pod: said.pod.clone() });
            }
            if said.answered == Some(self.address) {
                self.seen.push(Seen { at, node, what, pod: said.pod });
            }
        }
        Ok(())
    }

    /// Why nobody counts as the owner, in words.
    pub(super) fn said(&self) -> String {
        let recent = self.seen.iter().filter(|seen| seen.at.elapsed() < CALM);
        let ways: BTreeSet<String> =
            recent.map(|seen| format!("{:?} of {:?} by n{}", seen.what, seen.pod, seen.node)).collect();
        format!("no node that has the address within {} s, seen lately: {ways:?}", LIMIT.as_secs())
    }
}
