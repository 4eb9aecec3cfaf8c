//! The manifest folder: reading it, and noticing changes.
//!
//! Guarantees: after the last change of a burst the folder is read once more. Leaves out: what the files
//! mean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::burst::Burst;
use crate::catalogue::Files;

/// Endings of manifests.
const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];
/// Largest manifest read, in bytes.
const FILE_MAX: u64 = 4 << 20;
/// Without any notice the folder is read this often.
const RESCAN: Duration = Duration::from_secs(30);
/// How long to wait for a folder that was replaced.
const REOPEN: Duration = Duration::from_millis(200);

/// All manifests in the folder; files that vanish meanwhile are not there.
fn read(folder: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !ENDINGS.iter().any(|e| name.ends_with(e)) {
            continue;
        }
        match read_file(&entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            text => drop(files.insert(name, text.map_err(|e| e.to_string()))),
        }
    }
    Ok(files)
}

fn read_file(path: &Path) -> io::Result<String> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if found.len() > FILE_MAX {
        return Err(io::Error::other(format!("larger than {FILE_MAX} bytes")));
    }
    fs::read_to_string(path)
}

/// The folder as a source of changes.
#[derive(Debug)]
pub(crate) struct Manifests {
    folder: PathBuf,
    noticed: UnboundedReceiver<()>,
    burst: Burst,
    rescan: Instant,
}

impl Manifests {
    /// Listens from now on, in a thread that ends with this value. Must be called inside a runtime.
    pub(crate) fn watch(folder: &Path) -> anyhow::Result<Self> {
        let first = open(folder).with_context(|| format!("--manifests {}", folder.display()))?;
        let (changed, noticed) = unbounded_channel();
        let watched = folder.to_owned();
        thread::Builder::new().name("manifests".to_owned()).spawn(move || listen(&watched, first, &changed))?;
        Ok(Self { folder: folder.to_owned(), noticed, burst: Burst::default(), rescan: Instant::now() + RESCAN })
    }

    /// Waits until the folder should be read: a burst is over, or too long, or nothing happened for long.
    /// Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.noticed.recv() => self.burst.goes_on(),
                () = sleep_until(self.burst.due().unwrap_or(self.rescan)) => break,
            }
        }
        self.burst.ends();
        self.rescan = Instant::now() + RESCAN;
    }

    /// All manifests now.
    pub(crate) fn read(&self) -> Result<Files, String> {
        read(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))
    }
}

fn listen(folder: &Path, first: Inotify, changed: &UnboundedSender<()>) {
    let mut inotify = Some(first);
    while !changed.is_closed() {
        match inotify.as_ref().map(Inotify::read_events) {
            Some(Ok(events)) if !events.iter().any(|e| e.mask.intersects(lost())) => {}
            Some(Err(Errno::EINTR)) => continue,
            _ => inotify = reopen(folder),
        }
        if changed.send(()).is_err() {
            return;
        }
    }
}

/// The folder at this path is not the one that is watched any more.
fn lost() -> AddWatchFlags {
    AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF
}

fn reopen(folder: &Path) -> Option<Inotify> {
    thread::sleep(REOPEN);
    open(folder).ok()
}

fn open(folder: &Path) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let what = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(folder, what)?;
    Ok(inotify)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_are_read_and_a_bad_one_hides_none() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a.yaml", "a"), ("b.json", "{}"), (".c.yaml", "x"), ("d.yaml~", "x"), ("e.txt", "x")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("f.yml"), [0xff, 0xfe]).unwrap();
        let files = read(dir.path()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a.yaml", "b.json", "f.yml"]);
        assert!(files["f.yml"].is_err());
    }
}
