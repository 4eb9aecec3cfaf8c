//! What a bare Debian machine lacks for building and testing.
//!
//! Guarantees: nothing that is already there is installed again; each step says what it installs; without root
//! the packages that are missing are named instead of a failure deep inside a test. Leaves out: cargo itself
//! (rustup) and the C linker that built this program (`xtask/bootstrap`).

mod go;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{Tool, find};
use crate::progress;

/// What shows that a package is there.
enum Sign {
    Program(&'static str),
    File(&'static str),
}

/// Debian packages, and what shows that they are there.
const PACKAGES: &[(&str, Sign)] = &[
    ("ca-certificates", Sign::File("/etc/ssl/certs/ca-certificates.crt")),
    ("gcc", Sign::Program("gcc")),
    ("libc6-dev", Sign::File("/usr/include/stdio.h")),
    // libFuzzer
    ("g++", Sign::Program("c++")),
    ("make", Sign::Program("make")),
    ("git", Sign::Program("git")),
    ("pkg-config", Sign::Program("pkg-config")),
    // runc
    ("libseccomp-dev", Sign::File("/usr/include/seccomp.h")),
    ("iproute2", Sign::Program("ip")),
    ("nftables", Sign::Program("nft")),
    ("conntrack", Sign::Program("conntrack")),
    // portmap and the reference bridge plugin
    ("iptables", Sign::Program("iptables")),
    // offloads in the benchmark
    ("ethtool", Sign::Program("ethtool")),
    // kubelet, and the machines it runs on
    ("mount", Sign::Program("mount")),
    ("procps", Sign::Program("sysctl")),
    ("tcpdump", Sign::Program("tcpdump")),
    // in a pod of the README's quick start
    ("busybox-static", Sign::Program("busybox")),
    // calls in the tests
    ("sip-tester", Sign::Program("sipp")),
];

/// Target of the plugin in a release, for machines like this one.
pub(crate) const STATIC_TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-musl" } else { "x86_64-unknown-linux-musl" };

/// `setup`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    packages(root)?;
    rust_target(root)?;
    progress::line(&format!("    go: {}", go::ensure(root)?));
    Ok(())
}

fn packages(root: &Path) -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().filter(|(_, sign)| !sign.seen()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        progress::line("    packages: all there");
        return Ok(());
    }
    install(root, &missing)
}

/// Installs Debian packages.
///
/// # Errors
/// When this is not Debian, when we are not root, and when apt fails.
fn install(root: &Path, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("missing: {list}; there is no apt-get here, install them with your distribution's tool");
    }
    if Tool::new("id", root).arguments(&["-u"]).capture()?.trim() != "0" {
        bail!("missing: {list}; as root: apt-get install {list}");
    }
    progress::line(&format!("    packages: installing {list}"));
    apt(root, &["update", "-q"]).context("the package lists could not be fetched")?;
    let fixed = ["install", "-q", "-y", "--no-install-recommends"];
    apt(root, &[&fixed, packages].concat())
}

fn apt(root: &Path, arguments: &[&str]) -> Result<()> {
    let quiet = Tool::new("apt-get", root).variable("DEBIAN_FRONTEND", "noninteractive");
    quiet.arguments(&["-o", "Dpkg::Use-Pty=0"]).arguments(arguments).capture().map(drop)
}

fn rust_target(root: &Path) -> Result<()> {
    if find("rustup").is_none() {
        progress::line("    rust target: no rustup here; `make dist` needs the musl target of your toolchain");
        return Ok(());
    }
    let installed = Tool::new("rustup", root).arguments(&["target", "list", "--installed"]).capture()?;
    if installed.lines().any(|line| line.trim() == STATIC_TARGET) {
        progress::line(&format!("    rust target: {STATIC_TARGET}"));
        return Ok(());
    }
    progress::line(&format!("    rust target: installing {STATIC_TARGET}"));
    Tool::new("rustup", root).arguments(&["target", "add", STATIC_TARGET]).run()
}

impl Sign {
    fn seen(&self) -> bool {
        match self {
            Self::Program(name) => find(name).is_some(),
            Self::File(path) => Path::new(path).exists(),
        }
    }
}
