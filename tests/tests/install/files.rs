//! Files of other people.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sortie_testkit::{poll, programs, until};

use crate::stage::{Dirs, FLANNEL, outcome};

const SOON: Duration = Duration::from_secs(20);
const WITH: [&str; 3] = ["flannel", "portmap", "sortie"];

/// `install --watch`, ended by its process id.
struct Watch(Child);

impl Watch {
    fn start(dirs: &Dirs) -> Result<Self> {
        let log = fs::File::create(dirs.path("log"))?;
        Ok(Self(dirs.install(&["--watch"])?.stdin(Stdio::null()).stderr(log).spawn()?))
    }

    fn end(mut self) -> Result<()> {
        let id = self.0.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &id]).status()?.success(), "cannot signal");
        let ended = poll(SOON, "the end of the watch", || self.0.try_wait().ok().flatten())?;
        ensure!(ended.success(), "it ended with {ended}");
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn install_and_uninstall_give_files_modes_and_owners_back() -> Result<()> {
    let dirs = Dirs::new()?;
    dirs.write("10-flannel.conflist", FLANNEL)?;
    let file = dirs.conf.join("10-flannel.conflist");
    fs::set_permissions(&file, Permissions::from_mode(0o640))?;
    chown(&file, Some(1234), Some(4321))?;
    for round in ["first", "again"] {
        assert_eq!(outcome(&mut dirs.install(&[])?)?.0, Some(0), "{round}");
        assert_eq!(dirs.types("10-flannel.conflist"), WITH);
    }
    assert_eq!(outcome(&mut dirs.install(&["--check"])?)?.0, Some(0));
    assert_eq!(fs::read(dirs.bin.join("sortie"))?, fs::read(programs::ours("sortie")?)?);
    assert_eq!(fs::metadata(dirs.bin.join("sortie"))?.mode() & 0o7777, 0o755);
    dirs.uninstall()?;
    let found = fs::metadata(&file)?;
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o640, 1234, 4321));
    assert_eq!(dirs.read("10-flannel.conflist")?, FLANNEL);
    assert_eq!((dirs.names("net.d")?, dirs.names("bin")?), (vec!["10-flannel.conflist".to_owned()], vec![]));
    Ok(())
}

#[test]
fn the_entry_survives_a_program_that_rewrites_the_file_in_every_way() -> Result<()> {
    let dirs = Dirs::new()?;
    dirs.write("10-flannel.conflist", FLANNEL)?;
    let watch = Watch::start(&dirs)?;
    let mut last = String::new();
    for round in 0..60 {
        last = FLANNEL.replace("cbr0", &format!("cbr{round}"));
        match round % 3 {
            0 => dirs.write("10-flannel.conflist", &last)?,
            1 => {
                dirs.write(".other-writer", &last)?;
                fs::rename(dirs.conf.join(".other-writer"), dirs.conf.join("10-flannel.conflist"))?;
            }
            _ => {
                fs::remove_file(dirs.conf.join("10-flannel.conflist"))?;
                dirs.write("10-flannel.conflist", &last)?;
            }
        }
        if round % 10 == 9 {
            until(SOON, "the entry", || dirs.types("10-flannel.conflist") == WITH)?;
        }
    }
    until(SOON, "the entry at the end", || dirs.types("10-flannel.conflist") == WITH)?;
    let busy = outcome(&mut dirs.install(&[])?)?;
    ensure!(busy.0 == Some(1) && busy.1.contains("another installer"), "{busy:?}");
    watch.end()?;
    dirs.uninstall()?;
    assert_eq!(dirs.read("10-flannel.conflist")?, last);
    assert_eq!(dirs.names("net.d")?, ["10-flannel.conflist"]);
    Ok(())
}

#[test]
fn a_cni_that_comes_late_and_one_that_comes_before_it_are_followed() -> Result<()> {
    let dirs = Dirs::new()?;
    let (status, said) = outcome(&mut dirs.install(&[])?)?;
    ensure!(status == Some(3) && said.contains("no CNI has written"), "{status:?} {said}");
    let watch = Watch::start(&dirs)?;
    until(SOON, "the plugin", || dirs.bin.join("sortie").is_file())?;
    dirs.write("20-flannel.conflist", FLANNEL)?;
    until(SOON, "the entry", || dirs.types("20-flannel.conflist") == WITH)?;
    dirs.write("10-bridge.conf", r#"{"cniVersion": "1.0.0", "name": "pods", "type": "bridge"}"#)?;
    until(SOON, "the list beside", || dirs.types("10-bridge-sortie.conflist") == ["bridge", "sortie"])?;
    until(SOON, "the old one", || dirs.read("20-flannel.conflist").is_ok_and(|text| text == FLANNEL))?;
    fs::remove_file(dirs.bin.join("sortie"))?;
    until(SOON, "the plugin again", || dirs.bin.join("sortie").is_file())?;
    fs::remove_file(dirs.conf.join("10-bridge.conf"))?;
    until(SOON, "the entry back", || dirs.types("20-flannel.conflist") == WITH)?;
    until(SOON, "nothing beside", || !dirs.conf.join("10-bridge-sortie.conflist").exists())?;
    watch.end()
}

#[test]
fn a_directory_that_is_removed_and_made_anew_is_watched_again() -> Result<()> {
    let dirs = Dirs::new()?;
    dirs.write("10.conflist", FLANNEL)?;
    let watch = Watch::start(&dirs)?;
    until(SOON, "the entry", || dirs.types("10.conflist") == WITH)?;
    fs::remove_dir_all(&dirs.conf)?;
    fs::create_dir(&dirs.conf)?;
    dirs.write("10.conflist", FLANNEL)?;
    until(SOON, "the entry again", || dirs.types("10.conflist") == WITH)?;
    watch.end()
}

#[test]
fn what_stands_in_the_way_is_named_with_a_remedy_and_nothing_is_changed() -> Result<()> {
    let dirs = Dirs::new()?;
    dirs.write("10.conflist", FLANNEL)?;
    let read_only = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} && exec \"$@\"",
        dirs.conf.to_str().context("the folder has no readable name")?
    );
    let install = dirs.install(&[])?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &read_only, "sh"]).arg(install.get_program()).args(install.get_args());
    let (status, said) = outcome(&mut command)?;
    ensure!(status == Some(1) && said.contains("must be there and writable"), "{status:?} {said}");

    let no_plugin = outcome(&mut dirs.install(&["--plugin", "/bin/true"])?)?;
    ensure!(no_plugin.1.contains("does not answer VERSION"), "{no_plugin:?}");
    dirs.write("05.conflist", r#"{"cniVersion":"0.1.0","name":"a","plugins":[{"type":"a"}]}"#)?;
    let old = outcome(&mut dirs.install(&[])?)?;
    ensure!(old.0 == Some(1) && old.1.contains("05.conflist: cniVersion: is 0.1.0"), "{old:?}");
    assert_eq!(dirs.read("10.conflist")?, FLANNEL);
    Ok(())
}

#[test]
fn uninstall_keeps_the_plugin_while_an_entry_written_by_hand_names_it() -> Result<()> {
    let dirs = Dirs::new()?;
    dirs.write("10.conflist", &FLANNEL.replace("}}\n  ]", "}},\n    {\"type\": \"sortie\"}\n  ]"))?;
    assert_eq!(outcome(&mut dirs.install(&[])?)?.0, Some(0));
    let said = dirs.uninstall().err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains("plugins[2]") && said.contains("by hand"), "{said}");
    ensure!(dirs.bin.join("sortie").is_file(), "the plugin is gone");
    Ok(())
}
