//! Facts of the node this process runs on.
//!
//! Guarantees: nothing is changed; what cannot be read is a fact with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sortie_core::allocation::Allocation;
use sortie_core::desired::{Inputs, PerPodRules, skeleton};
use sortie_core::doctor::{Facts, Plugin, Seen, Status};
use sortie_core::ids::Numbers;
use sortie_core::model::{DeviceName, Family};
use sortie_core::state::{NftChange, NodeState, RouteKind};
use sortie_core::world::{NodeFacts, World};
use sortie_ipc::{FrameError, Reply, Request, call};
use sortie_kernel::blocking::Rules;
use sortie_kernel::{Linux, Platform as _, survey};
use sortie_peer::Key;

use crate::cli::DoctorOptions;
use crate::install;
use crate::node::chain;

/// How long a helper may think.
const DEADLINE: Duration = Duration::from_secs(5);
/// Programs that list rules of iptables.
const IPTABLES: [&str; 2] = ["iptables-save", "ip6tables-save"];
/// Where the manifests put the helpers' key.
const KEY: &str = "/etc/sortie/peer/key";
/// Where systemd looks for settings; the later goes before the earlier.
const SETTINGS: [&str; 4] = ["usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd"];

/// Looks at everything.
pub(super) async fn read(options: &DoctorOptions) -> Facts {
    let numbers = options.numbers;
    let (facts, state, egress) = kernel(numbers).await;
    let exits = state.as_ref().map(|state| exits(state, numbers)).map_err(Clone::clone);
    let devices: BTreeSet<DeviceName> = exits.iter().flatten().map(|(device, _)| device.clone()).collect();
    let mut iptables = BTreeMap::new();
    for program in IPTABLES {
        iptables.insert(program.to_owned(), seen(survey::saved_rules(program).await));
    }
    Facts {
        numbers,
        kernel: survey::release().unwrap_or_default(),
        nft: seen(survey::nft_version().await),
        table: seen(survey::accepts(&table(numbers)).await),
        egress,
        switches: survey::switches(&switches(&devices)),
        devices: facts.as_ref().map(|facts| facts.devices.clone()).map_err(Clone::clone),
        exits,
        is_loaded: state.is_ok_and(|state| state.nft.is_some()),
        rules: seen(Rules::open().and_then(|mut rules| rules.foreign())),
        foreign_tables: facts.map(|facts| facts.foreign_tables),
        ruleset: seen(survey::ruleset().await),
        iptables,
        network: network(&options.conf_dir),
        plugin: plugin(&options.bin_dir),
        networkd: networkd(&options.root),
        key: key(options.peer_key_file.as_deref()),
        helper: helper(&options.socket),
    }
}

fn seen<T, E: std::error::Error>(outcome: Result<T, E>) -> Seen<T> {
    outcome.map_err(|error| chain(&error))
}

/// Devices, what of ours is in the kernel, and whether frames can be addressed.
async fn kernel(numbers: Numbers) -> (Seen<NodeFacts>, Seen<NodeState>, Seen<()>) {
    // Nothing is changed, so there is nothing to put back.
    match Linux::open(numbers, "/nonexistent") {
        Ok(mut linux) => {
            let (facts, state) = (seen(linux.facts().await), seen(linux.observe().await));
            (facts, state, seen(linux.can_address_frames().await))
        }
        Err(error) => {
            let why = chain(&error);
            (Err(why.clone()), Err(why.clone()), Err(why))
        }
    }
}

fn exits(state: &NodeState, numbers: Numbers) -> BTreeSet<(DeviceName, Family)> {
    let ours = state.routes.iter().filter(|route| (numbers.tables.0..=numbers.tables.1).contains(&route.table));
    let by = |kind: &RouteKind| match kind {
        RouteKind::Unicast { hops, .. } => hops.iter().map(|hop| hop.device.clone()).collect(),
        RouteKind::Throw | RouteKind::Unreachable => Vec::new(),
    };
    ours.flat_map(|route| by(&route.kind).into_iter().map(|device| (device, Family::of_network(route.destination))))
        .collect()
}

/// The table that the helper would load on an empty node.
fn table(numbers: Numbers) -> NftChange {
    let nobody = BTreeSet::new();
    let skeleton = skeleton(&Inputs {
        world: &World::default(),
        node: "",
        facts: &NodeFacts::default(),
        allocation: &Allocation::default(),
        numbers,
        cluster_cidrs: &[],
        owned: &nobody,
        leased: &nobody,
        peering: None,
    });
    let desired = skeleton.compose(std::iter::empty(), PerPodRules::Absent);
    NftChange::Replace(desired.state.nft.unwrap_or_default())
}

fn switches(devices: &BTreeSet<DeviceName>) -> Vec<String> {
    let fixed = [
        "net/ipv4/ip_forward",
        "net/ipv6/conf/all/forwarding",
        "net/ipv4/conf/all/rp_filter",
        "net/ipv4/conf/all/src_valid_mark",
        "net/netfilter/nf_conntrack_count",
        "net/netfilter/nf_conntrack_max",
    ];
    let of = |device: &DeviceName| {
        ["rp_filter", "src_valid_mark", "forwarding"].map(|switch| format!("net/ipv4/conf/{device}/{switch}"))
    };
    fixed.iter().map(|name| (*name).to_owned()).chain(devices.iter().flat_map(of)).collect()
}

fn network(dir: &Path) -> Seen<sortie_core::cni::install::Files> {
    install::configuration(dir).map_err(|error| format!("{error:#}"))
}

fn plugin(dir: &Path) -> Seen<Plugin> {
    if !dir.is_dir() {
        return Err(format!("--cni-bin-dir {}: is no directory", dir.display()));
    }
    install::plugin_in(dir).map_err(|error| format!("{error:#}"))
}

fn key(given: Option<&Path>) -> Seen<Result<(), String>> {
    let path = given.unwrap_or(Path::new(KEY));
    if given.is_none() && !path.exists() {
        return Err("give --peer-key-file where several nodes could own an address".to_owned());
    }
    Ok(Key::read(path).map(drop).map_err(|error| chain(&error)))
}

/// Settings in the order in which systemd reads them.
fn networkd(root: &Path) -> Seen<Option<Vec<String>>> {
    if !root.join("run/systemd/system").is_dir() {
        let root = root.display();
        return Err(format!("--root {root}: no systemd runs there, or its files are not seen from here"));
    }
    if !root.join("run/systemd/netif").is_dir() {
        return Ok(None);
    }
    let places = SETTINGS.map(|place| root.join(place));
    let main = places.iter().rev().map(|place| place.join("networkd.conf")).find(|path| path.is_file());
    let mut more = BTreeMap::<_, PathBuf>::new();
    for entry in places.iter().filter_map(|place| fs::read_dir(place.join("networkd.conf.d")).ok()).flatten().flatten()
    {
        if entry.path().extension().is_some_and(|ending| ending == "conf") {
            more.insert(entry.file_name(), entry.path());
        }
    }
    let text = |path: PathBuf| fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()));
    main.into_iter().chain(more.into_values()).map(text).collect::<Result<_, _>>().map(Some)
}

fn helper(socket: &Path) -> Seen<Status> {
    match call(socket, Request::Status, DEADLINE) {
        Ok(Reply::Status(report)) => {
            let of_route = |route: &sortie_ipc::RouteStatus| {
                let name = route.name.clone();
                route.unusable.iter().map(move |hop| format!("route {name}: {hop}")).collect::<Vec<_>>()
            };
            let unowned = report.addresses.iter().filter(|held| held.owner.is_none());
            Ok(Status {
                not_ready: (!report.ready).then(|| report.reason.clone()),
                unusable: report.routes.iter().flat_map(of_route).collect(),
                unowned: unowned.map(|held| held.service.clone()).collect(),
            })
        }
        Ok(other) => Err(format!("the helper at {} answered {other:?}", socket.display())),
        Err(error @ FrameError::Connect { .. }) => Err(format!("no helper answers: {}", chain(&error))),
        Err(error) => Err(format!("the helper at {} does not answer: {}", socket.display(), chain(&error))),
    }
}
