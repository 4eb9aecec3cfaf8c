//! The files of the image.
//!
//! `nft` and the libraries that it and the helper ask for are those of this Debian, at the places where the loader looks
//! without a cache. The helper is linked dynamically: it shares the C library with `nft`, whose allocator is faster than
//! that of a static build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{Tool, find};
use crate::programs;

/// Where `nft` goes.
const NFT: &str = "usr/sbin/nft";
/// Where licences go, as in Debian.
const LICENCES: &str = "usr/share/doc";

/// A file of the image.
pub(super) struct File {
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// Every file by its path without a slash in front.
pub(super) fn files(root: &Path) -> Result<BTreeMap<String, File>> {
    let released = programs::target(root).join("release");
    let (helper, nft) = (released.join("sortie-helper"), find("nft").context("nft is not there; `cargo xtask setup`")?);
    let mut files = BTreeMap::from([
        ("sortie".to_owned(), read(&released.join("sortie"), 0o755)?),
        ("sortie-helper".to_owned(), read(&helper, 0o755)?),
        (NFT.to_owned(), read(&nft, 0o755)?),
        (format!("{LICENCES}/sortie/LICENSE"), read(&root.join("LICENSE"), 0o644)?),
    ]);
    let mut packages = BTreeSet::from([package(root, &nft)?]);
    for library in libraries(root, &[&nft, &helper])? {
        packages.insert(package(root, &library)?);
        files.insert(library.to_string_lossy().trim_start_matches('/').to_owned(), read(&library, 0o755)?);
    }
    for package in packages {
        let name = format!("{LICENCES}/{package}/copyright");
        let file = read(&Path::new("/").join(&name), 0o644)?;
        files.insert(name, file);
    }
    Ok(files)
}

/// Every library a program is started with, and the loader itself.
fn libraries(root: &Path, programs: &[&Path]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for program in programs {
        let listed = Tool::new("ldd", root).arguments(&[program.to_string_lossy()]).capture()?;
        found.extend(paths(&listed));
    }
    Ok(found)
}

/// Paths in what `ldd` prints: `name => /path (0x…)`, or `/path (0x…)` for the loader.
fn paths(listed: &str) -> impl Iterator<Item = PathBuf> {
    listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from))
}

/// The package a file came with. Debian lists some files under `/usr` and some where they were before.
fn package(root: &Path, file: &Path) -> Result<String> {
    let real = file.canonicalize().with_context(|| format!("cannot follow {}", file.display()))?;
    let plain =
        |path: &Path| path.strip_prefix("/usr").map_or_else(|_| path.to_path_buf(), |rest| Path::new("/").join(rest));
    let candidates = [file.to_path_buf(), plain(file), real.clone(), plain(&real)];
    let asked = candidates.iter().map(|path| Tool::new("dpkg", root).arguments(&["--search", &path.to_string_lossy()]));
    let mut answers = asked.filter_map(|tool| tool.capture().ok());
    let answer = answers.next().with_context(|| format!("no Debian package holds {}", file.display()))?;
    let name = answer.split(':').next().unwrap_or_default();
    Ok(name.to_owned())
}

fn read(path: &Path, mode: u32) -> Result<File> {
    let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(File { mode, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_read_from_ldd() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = paths(listed).collect();
        assert_eq!(found, [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
    }

    #[test]
    fn a_file_of_the_system_belongs_to_a_package_with_a_licence() {
        let nft = find("nft").unwrap();
        assert_eq!(package(Path::new("/"), &nft).unwrap(), "nftables");
        assert!(Path::new("/usr/share/doc/nftables/copyright").is_file());
    }
}
