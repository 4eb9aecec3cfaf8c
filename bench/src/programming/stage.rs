//! A node under a source, with its witness.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sortie_testkit::{Helper, Lab, Namespace};

use super::changes::Changes;
use super::peer;
use super::source::Source;
use super::witness::Witness;

/// What was measured of one change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    /// Nothing where the kernel needed no change.
    pub(crate) peer: Option<Duration>,
    pub(crate) objects: usize,
    /// Resident memory of the helper afterwards, KiB.
    pub(crate) resident: u64,
    /// The most it was meanwhile, KiB.
    pub(crate) peak: u64,
}

/// Whose removals count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removals {
    Ours,
    OfSomebodyElse,
}

pub(crate) struct Stage<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) source: Source<'a>,
    pub(crate) helper: Helper<'a>,
    witness: Witness,
    peer: Namespace,
}

impl<'a> Stage<'a> {
    /// The helper runs, and knows of nothing yet.
    pub(crate) fn new(lab: &'a Lab, source: Source<'a>) -> Result<Self> {
        let helper = source.helper()?;
        Ok(Self { lab, source, helper, witness: Witness::start(&lab.node)?, peer: lab.net().namespace("peer")? })
    }

    /// Does something, waits for the last change of the kernel and measures what it takes to load as many objects.
    pub(crate) fn measure(
        &mut self,
        removals: Removals,
        act: impl FnOnce(&mut Self) -> Result<()>,
        is_done: impl FnMut() -> Result<bool>,
    ) -> Result<Outcome> {
        self.forget_peak();
        let began = self.witness.begin();
        act(self)?;
        let (took, changes) = self.witness.settled(began, is_done).with_context(|| self.helper.log())?;
        let changes = if removals == Removals::Ours { changes } else { changes.additions() };
        self.outcome(took, Some(&changes))
    }

    /// Starts the helper, which finds the kernel as it should be, and waits until it is ready.
    pub(crate) fn restart(&mut self) -> Result<Outcome> {
        self.helper.kill9()?;
        let began = Instant::now();
        self.helper.restart()?;
        self.outcome(began.elapsed(), None)
    }

    fn outcome(&mut self, took: Duration, changes: Option<&Changes>) -> Result<Outcome> {
        let (resident, peak) = (self.memory("VmRSS:")?, self.memory("VmHWM:")?);
        let peer = changes.map(|changes| peer::load(&self.peer, changes)).transpose()?;
        Ok(Outcome { took, peer, objects: changes.map_or(0, Changes::total), resident, peak })
    }

    /// The kernel counts the peak anew (`proc(5)`).
    fn forget_peak(&mut self) {
        // Without that the peak is that of an earlier change, which is too much and no lie.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.helper.process().id()), "5");
    }

    fn memory(&mut self, key: &str) -> Result<u64> {
        let file = format!("/proc/{}/status", self.helper.process().id());
        let status = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
        line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{key} is no number"))
    }
}
