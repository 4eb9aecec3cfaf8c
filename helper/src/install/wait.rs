//! `install --watch`: waits for a CNI, and repairs what others undo.
//!
//! Guarantees: no change is missed, because the watch begins before the directory is read; trouble is said once while it
//! lasts; against a program that rewrites its file whenever we do, the repairs become rare (at most every 30 s).

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Found, lock, pass, place};
use crate::cli::InstallOptions;

/// Without any notice the directories are read this often.
const RESCAN: Duration = Duration::from_secs(30);
/// How long to wait for a directory that is not there, or that another installer holds.
const REOPEN: Duration = Duration::from_secs(1);
/// Time for a writer to finish.
const QUIET: Duration = Duration::from_millis(20);
/// Repairs that follow each other sooner are a quarrel.
const QUARREL: Duration = Duration::from_secs(10);

/// Waits for the end that a container's runtime or a service manager asks for.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn ended() -> nix::Result<()> {
    let signals = signals()?;
    poll_for(&[signals.as_fd()], PollTimeout::NONE).map(drop)
}

/// Works until SIGTERM.
pub(super) fn watch(options: &InstallOptions) -> anyhow::Result<()> {
    let signals = signals().context("watch for SIGTERM")?;
    let (mut state, mut pace) = (String::new(), Pace::default());
    let mut held = None;
    let mut notices = None;
    loop {
        notices = notices.or_else(|| open(options).ok());
        let outcome = attempt(options, &mut held);
        match outcome {
            Ok((_, true)) => pace.repaired(Instant::now()),
            _ => pace.calm(Instant::now()),
        }
        report(&mut state, outcome);
        let ended = match &notices {
            Some(inotify) => {
                let ended = wait(&signals, Some(inotify), RESCAN)?;
                if is_lost(inotify) {
                    (notices, held) = (None, None);
                }
                ended || wait(&signals, None, pace.delay)?
            }
            None => wait(&signals, None, REOPEN)?,
        };
        if ended {
            return Ok(());
        }
    }
}

/// One pass, as soon as the directory is ours to work in.
fn attempt(options: &InstallOptions, held: &mut Option<super::DirLock>) -> anyhow::Result<(Found, bool)> {
    if !options.conf_dir.exists() {
        return Ok((Found::NoNetwork, false));
    }
    if held.is_none() {
        *held = Some(lock(&options.conf_dir)?);
        place::tidy(&options.conf_dir)?;
        place::tidy(&options.bin_dir)?;
    }
    pass(options)
}

/// Says what changed since last time.
fn report(state: &mut String, outcome: anyhow::Result<(Found, bool)>) {
    let (level, now) = match outcome {
        Ok((Found::Entry, _)) => (log::Level::Info, "plugin and entry are in place".to_owned()),
        Ok((Found::NoNetwork, _)) => (log::Level::Info, "waiting for the configuration of a CNI".to_owned()),
        Err(error) => (log::Level::Error, format!("cannot install error={error:#}")),
    };
    if now != *state {
        log::log!(level, "{now}");
        *state = now;
    }
}

/// How long to leave a directory alone after a notice.
#[derive(Debug)]
struct Pace {
    delay: Duration,
    repaired: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { delay: QUIET, repaired: None }
    }
}

impl Pace {
    fn repaired(&mut self, now: Instant) {
        if self.is_quarrel(now) {
            self.delay = (self.delay * 2).min(RESCAN);
            log::warn!("another program rewrites the CNI configuration next_repair_ms={}", self.delay.as_millis());
        }
        self.repaired = Some(now);
    }

    fn calm(&mut self, now: Instant) {
        if !self.is_quarrel(now) {
            self.delay = QUIET;
        }
    }

    fn is_quarrel(&self, now: Instant) -> bool {
        self.repaired.is_some_and(|then| now.duration_since(then) <= QUARREL.max(self.delay * 2))
    }
}

fn signals() -> nix::Result<SignalFd> {
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGTERM);
    wanted.add(Signal::SIGINT);
    wanted.thread_block()?;
    SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC)
}

/// Waits for a notice, at most so long; and whether the end was asked for.
fn wait(signals: &SignalFd, notices: Option<&Inotify>, limit: Duration) -> nix::Result<bool> {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match notices {
        Some(notices) => poll_for(&[signals.as_fd(), notices.as_fd()], limit),
        None => poll_for(&[signals.as_fd()], limit),
    }
}

/// Whether the first of these has something to read.
fn poll_for(files: &[std::os::fd::BorrowedFd<'_>], limit: PollTimeout) -> nix::Result<bool> {
    let mut polled: Vec<PollFd<'_>> = files.iter().map(|file| PollFd::new(*file, PollFlags::POLLIN)).collect();
    match poll(&mut polled, limit) {
        Ok(_) | Err(Errno::EINTR) => Ok(polled.first().and_then(PollFd::any).unwrap_or(false)),
        Err(error) => Err(error),
    }
}

/// Takes the notices; whether one of them says that a directory is not the one that is watched any more.
fn is_lost(inotify: &Inotify) -> bool {
    let lost = AddWatchFlags::IN_IGNORED
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_UNMOUNT
        | AddWatchFlags::IN_Q_OVERFLOW;
    match inotify.read_events() {
        Ok(events) => events.iter().any(|event| event.mask.intersects(lost)),
        Err(error) => !matches!(error, Errno::EAGAIN | Errno::EINTR),
    }
}

fn open(options: &InstallOptions) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let what = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(&options.conf_dir, what)?;
    inotify.add_watch(&options.bin_dir, what)?;
    Ok(inotify)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_of_a_quarrel_become_rare_and_a_single_one_is_quick() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.repaired(now);
        assert_eq!(pace.delay, QUIET);
        for _ in 0..20 {
            now += pace.delay;
            pace.repaired(now);
        }
        assert_eq!(pace.delay, RESCAN);
        pace.calm(now + RESCAN);
        assert_eq!(pace.delay, RESCAN);
        now += RESCAN * 3;
        pace.calm(now);
        pace.repaired(now);
        assert_eq!(pace.delay, QUIET);
    }
}
