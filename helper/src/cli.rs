//! Command line.
//!
//! Guarantees: a value out of range is refused with its flag and the remedy. Leaves out: everything that
//! needs the machine.

mod doctor;
mod explain;
mod forget;
mod install;
mod source;
mod uninstall;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use lexopt::prelude::*;
use log::LevelFilter;
use sortie_core::desired::Steering;
use sortie_core::ids::{self, Mask, Numbers};

use crate::kubernetes::kinds::Annotations;

pub(crate) use doctor::{DoctorOptions, HELP as DOCTOR_HELP};
pub(crate) use explain::{ExplainOptions, HELP as EXPLAIN_HELP};
pub(crate) use forget::ForgetOptions;
pub(crate) use install::{HELP as INSTALL_HELP, InstallOptions, Mode};
pub(crate) use source::{KubernetesOptions, SourceOptions};
pub(crate) use uninstall::{Afterwards, UninstallOptions};

/// Fewest bits of the two marks: 64 exits, 4096 paths.
const MARK_BITS: (u32, u32) = (6, 12);

/// Fewest bits for a node's number.
const NODE_BITS: u32 = 4;

/// Text of `--help`.
pub(crate) const HELP: &str = "\
sortie-helper: outbound routes for pods, node daemon and operator commands

usage: sortie-helper run --node NAME (--manifests DIR | --kubernetes [--kubeconfig PATH]) [flags]
       sortie-helper status [--socket PATH] [-o text|json]
       sortie-helper explain --pod NAMESPACE/NAME --protocol PROTOCOL --destination ADDRESS[:PORT]
                             [--source-port PORT]   (explain --help says more)
       sortie-helper doctor [-o text|json]   (doctor --help says more)
       sortie-helper install [--watch | --check] [--cni-conf-dir DIR] [--cni-bin-dir DIR] [--plugin PATH]
                             [--net-conf JSON]   (install --help says more)
       sortie-helper crds
       sortie-helper uninstall [--state-dir DIR] [--data-dir DIR] [flags]
                               [--cni-conf-dir DIR [--cni-bin-dir DIR]] [--then-wait]
       sortie-helper forget-services [--kubeconfig PATH]   (takes what helpers wrote off the Services of the cluster)

flags of run (those without * also of uninstall):
  --node NAME            * this node's name, as in its Node object
  --manifests DIR        * take objects from a folder of manifests (*.yaml, *.yml, *.json)
  --kubernetes           * take objects from the Kubernetes API
  --kubeconfig PATH      * how to reach it   [the service account of the pod]
  --kube-vip-annotations * read kube-vip's annotations of Services as synonyms of ours
  --startup-taint KEY    * taint of this node to remove when pods may start; needs the right to patch Nodes
  --state-dir DIR          attachments and numbers, lost at reboot   [/run/sortie]
  --data-dir DIR           what survives a reboot   [/var/lib/sortie; the state dir when that one is given]
  --socket PATH            socket for plugin and status   [/run/sortie/helper.sock]
  --cluster-cidr CIDR    * a network of the cluster in addition to those of Node manifests; may repeat
  --steering MODE        * auto | rules | marks   [auto]
  --rules-max N          * per-pod rules per family up to which auto keeps them   [16]
  --table-range A-B        tables for routes   [10000-10999]
  --packet-mark MASK       bits of the packet mark for exits, at least 6   [0x3f]
  --ct-mark MASK           bits of the connection mark for paths, at least 12   [0x000fff00]
  --return-mark MASK       one more bit of the packet mark, for answers to pods of other nodes   [0x40]
  --node-mark MASK         bits of the connection mark for the number of a pod's node, at least 4   [0x3ff00000]
  --vni N                  identifier of the tunnel between nodes, 1 to 16777215   [7342]
  --tunnel-port N          UDP port of the tunnel   [4797]
  --peer-port N          * UDP and TCP port of the helpers among each other   [7343]
  --peer-key-file PATH   * secret of the helpers, at least 32 bytes; needed where several nodes could own an address
  --replication MODE     * on | off: whether connections of addresses this node could own next are kept here   [on]
  --metrics-addr ADDR:PORT * answer /metrics, /healthz and /readyz there over HTTP   [off]
  --log-level LEVEL        error | warn | info | debug   [info]
  --log-file PATH          instead of standard error

flags of uninstall alone:
  --cni-conf-dir DIR       take the entry of `install` out of the CNI configuration there, before anything else
  --cni-bin-dir DIR        remove the plugin there, after everything else
  --then-wait              end at SIGTERM only, as a pod of a DaemonSet must
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Crds,
    Run(RunOptions),
    Status(StatusOptions),
    Explain(ExplainOptions),
    ExplainHelp,
    Doctor(DoctorOptions),
    DoctorHelp,
    Install(InstallOptions),
    InstallHelp,
    Uninstall(UninstallOptions),
    Forget(ForgetOptions),
}

/// Places and numbers of one helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeOptions {
    pub(crate) state_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) numbers: Numbers,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_file: Option<PathBuf>,
}

/// Options of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunOptions {
    pub(crate) node: String,
    pub(crate) source: SourceOptions,
    pub(crate) cluster_cidrs: Vec<IpNetwork>,
    pub(crate) steering: Steering,
    pub(crate) rules_max: usize,
    pub(crate) peer_port: u16,
    pub(crate) peer_key_file: Option<PathBuf>,
    pub(crate) replicating: Replicating,
    /// Where metrics and probes are answered; nowhere without.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) place: NodeOptions,
}

/// Whether a node tells and keeps connections of addresses that another one could own next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replicating {
    #[default]
    On,
    Off,
}

/// Options of `status`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StatusOptions {
    pub(crate) socket: PathBuf,
    pub(crate) format: Format,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Why a command line is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{0}; see sortie-helper --help")]
    Form(#[from] lexopt::Error),
    #[error("{flag}: {message}; {remedy}")]
    Value { flag: &'static str, message: String, remedy: &'static str },
}

/// Flags as they come, before they are weighed against each other.
#[derive(Default)]
struct Flags {
    node: Option<String>,
    manifests: Option<PathBuf>,
    api: source::Api,
    kubernetes: KubernetesOptions,
    state_dir: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    cluster_cidrs: Vec<IpNetwork>,
    steering: Steering,
    rules_max: Option<usize>,
    peer_port: Option<u16>,
    peer_key_file: Option<PathBuf>,
    replicating: Replicating,
    metrics: Option<SocketAddr>,
    numbers: Numbers,
    log_level: Option<LevelFilter>,
    log_file: Option<PathBuf>,
    format: Option<Format>,
    cni_conf_dir: Option<PathBuf>,
    cni_bin_dir: Option<PathBuf>,
    afterwards: Afterwards,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let verb = match parser.next()? {
        Some(Value(verb)) => verb.to_string_lossy().into_owned(),
        None | Some(Short('h') | Long("help")) => return Ok(Command::Help),
        Some(Short('V') | Long("version")) => return Ok(Command::Version),
        Some(other) => return Err(other.unexpected().into()),
    };
    match verb.as_str() {
        "install" => return install::parse(&mut parser),
        "explain" => return explain::parse(&mut parser),
        "doctor" => return doctor::parse(&mut parser),
        "forget-services" => return forget::parse(&mut parser),
        _ => {}
    }
    if !["run", "status", "crds", "uninstall"].contains(&verb.as_str()) {
        return Err(value(
            "command",
            format!("{verb} is unknown"),
            "use run, status, explain, doctor, crds, install, uninstall or forget-services",
        ));
    }
    let mut flags = Flags::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("then-wait") if verb == "uninstall" => flags.afterwards = Afterwards::Wait,
            Short('o') | Long("output") => flags.format = Some(format(&parser.value()?.string()?)?),
            Long("kubernetes") => flags.api = source::Api::Used,
            Long("kube-vip-annotations") => flags.kubernetes.annotations = Annotations::KubeVipToo,
            Long(name) => {
                let name = name.to_owned();
                let text = parser.value()?.string()?;
                flags.take(&name, text)?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    flags.into_command(&verb)
}

impl Flags {
    fn take(&mut self, name: &str, text: String) -> Result<(), UsageError> {
        match name {
            "node" => self.node = Some(text),
            "manifests" => self.manifests = Some(text.into()),
            "kubeconfig" => self.kubernetes.kubeconfig = Some(text.into()),
            "startup-taint" => self.kubernetes.startup_taint = Some(text),
            "state-dir" => self.state_dir = Some(text.into()),
            "data-dir" => self.data_dir = Some(text.into()),
            "socket" => self.socket = Some(text.into()),
            "cluster-cidr" => self.cluster_cidrs.push(network(&text)?),
            "steering" => self.steering = steering(&text)?,
            "rules-max" => self.rules_max = Some(number("--rules-max", &text)?),
            "peer-port" => self.peer_port = Some(number("--peer-port", &text)?),
            "peer-key-file" => self.peer_key_file = Some(text.into()),
            "replication" => self.replicating = replicating(&text)?,
            "metrics-addr" => self.metrics = address(&text)?,
            "table-range" => self.numbers.tables = tables(&text)?,
            "packet-mark" => self.numbers.packet_mark = mask("--packet-mark", &text, MARK_BITS.0)?,
            "ct-mark" => self.numbers.ct_mark = mask("--ct-mark", &text, MARK_BITS.1)?,
            "return-mark" => self.numbers.return_mark = bit("--return-mark", &text)?,
            "node-mark" => self.numbers.node_mark = mask("--node-mark", &text, NODE_BITS)?,
            "vni" => self.numbers.vni = vni(&text)?,
            "tunnel-port" => self.numbers.tunnel_port = number("--tunnel-port", &text)?,
            "log-level" => self.log_level = Some(level(&text)?),
            "log-file" => self.log_file = Some(text.into()),
            "cni-conf-dir" => self.cni_conf_dir = Some(text.into()),
            "cni-bin-dir" => self.cni_bin_dir = Some(text.into()),
            other => return Err(lexopt::Error::UnexpectedOption(format!("--{other}")).into()),
        }
        Ok(())
    }

    fn into_command(self, verb: &str) -> Result<Command, UsageError> {
        apart(&self.numbers)?;
        if verb == "crds" {
            return Ok(Command::Crds);
        }
        let socket = self.socket.clone().unwrap_or_else(|| ids::SOCKET.into());
        if verb == "status" {
            return Ok(Command::Status(StatusOptions { socket, format: self.format.unwrap_or(Format::Text) }));
        }
        let data_dir = self.data_dir.or_else(|| self.state_dir.clone()).unwrap_or_else(|| ids::DATA_DIR.into());
        let place = NodeOptions {
            state_dir: self.state_dir.unwrap_or_else(|| ids::STATE_DIR.into()),
            data_dir,
            socket,
            numbers: self.numbers,
            log_level: self.log_level.unwrap_or(LevelFilter::Info),
            log_file: self.log_file,
        };
        if verb == "uninstall" {
            return uninstall::options(place, (self.cni_conf_dir, self.cni_bin_dir), self.afterwards);
        }
        let missing = |flag, remedy| value(flag, "is required".to_owned(), remedy);
        let node = self.node.filter(|n| !n.is_empty());
        Ok(Command::Run(RunOptions {
            node: node.ok_or_else(|| missing("--node", "give the name this node has in its Node object"))?,
            source: source::source(self.manifests, self.api, self.kubernetes)?,
            cluster_cidrs: self.cluster_cidrs,
            steering: self.steering,
            rules_max: self.rules_max.unwrap_or(ids::RULES_MAX),
            peer_port: self.peer_port.unwrap_or(ids::PEER_PORT),
            peer_key_file: self.peer_key_file,
            replicating: self.replicating,
            metrics: self.metrics,
            place,
        }))
    }
}

fn value(flag: &'static str, message: String, remedy: &'static str) -> UsageError {
    UsageError::Value { flag, message, remedy }
}

fn number<T: std::str::FromStr>(flag: &'static str, text: &str) -> Result<T, UsageError> {
    text.parse().map_err(|_| value(flag, format!("{text:?} is not a number in range"), "give a decimal number"))
}

/// Nothing for an empty text.
fn address(text: &str) -> Result<Option<SocketAddr>, UsageError> {
    if text.is_empty() {
        return Ok(None);
    }
    let remedy = "write it as 127.0.0.1:7344 or [::1]:7344";
    text.parse().map(Some).map_err(|_| value("--metrics-addr", format!("{text:?} is no ADDRESS:PORT"), remedy))
}

fn network(text: &str) -> Result<IpNetwork, UsageError> {
    let network: IpNetwork = text
        .parse()
        .map_err(|_| value("--cluster-cidr", format!("{text:?} is not a CIDR"), "write it as 10.244.0.0/16"))?;
    if network.ip() == network.network() {
        return Ok(network);
    }
    Err(value("--cluster-cidr", format!("{text} has host bits"), "give the network's first address"))
}

fn steering(text: &str) -> Result<Steering, UsageError> {
    match text {
        "auto" => Ok(Steering::Auto),
        "rules" => Ok(Steering::Rules),
        "marks" => Ok(Steering::Marks),
        _ => Err(value("--steering", format!("{text:?} is unknown"), "use auto, rules or marks")),
    }
}

fn replicating(text: &str) -> Result<Replicating, UsageError> {
    match text {
        "on" => Ok(Replicating::On),
        "off" => Ok(Replicating::Off),
        _ => Err(value("--replication", format!("{text:?} is unknown"), "use on or off")),
    }
}

fn level(text: &str) -> Result<LevelFilter, UsageError> {
    text.parse().map_err(|_| value("--log-level", format!("{text:?} is unknown"), "use error, warn, info or debug"))
}

fn format(text: &str) -> Result<Format, UsageError> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(value("-o", format!("{text:?} is unknown"), "use text or json")),
    }
}

fn tables(text: &str) -> Result<(u32, u32), UsageError> {
    let flag = "--table-range";
    let (first, last) = text
        .split_once('-')
        .ok_or_else(|| value(flag, format!("{text:?} is not a range"), "write it as 10000-10999"))?;
    let range: (u32, u32) = (number(flag, first)?, number(flag, last)?);
    let overlaps = |other: (u32, u32)| range.0 <= other.1 && other.0 <= range.1;
    if range.0 == 0 || range.0 > range.1 {
        return Err(value(flag, format!("{text} is empty"), "give a first table from 1 that is not above the last"));
    }
    if overlaps((253, 255)) {
        return Err(value(flag, format!("{text} holds the kernel's tables 253 to 255"), "choose another range"));
    }
    if overlaps(ids::TABLE_RESERVED) {
        let (first, last) = ids::TABLE_RESERVED;
        return Err(value(flag, format!("{text} holds Sortie's own tables {first} to {last}"), "choose another range"));
    }
    Ok(range)
}

fn mask(flag: &'static str, text: &str, bits: u32) -> Result<Mask, UsageError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mask = u32::from_str_radix(digits, 16)
        .map_err(|_| value(flag, format!("{text:?} is not a mask"), "write it in hexadecimal, as 0x3f"))?;
    let field = mask.checked_shr(mask.trailing_zeros()).unwrap_or(0);
    if field.count_ones() < bits || field & field.wrapping_add(1) != 0 {
        let message = format!("{text} is not {bits} or more bits in a row");
        return Err(value(flag, message, "choose bits that no other program on the node uses"));
    }
    Ok(Mask(mask))
}

fn bit(flag: &'static str, text: &str) -> Result<Mask, UsageError> {
    let mask = mask(flag, text, 1)?;
    if mask.0.count_ones() == 1 {
        return Ok(mask);
    }
    Err(value(flag, format!("{text} is more than one bit"), "choose one bit that no other program on the node uses"))
}

fn vni(text: &str) -> Result<u32, UsageError> {
    let vni: u32 = number("--vni", text)?;
    if (1..1 << 24).contains(&vni) {
        return Ok(vni);
    }
    Err(value("--vni", format!("{vni} is out of range"), "choose 1 to 16777215, the same on all nodes"))
}

/// No bit has two meanings.
fn apart(numbers: &Numbers) -> Result<(), UsageError> {
    let remedy = "choose bits that do not overlap";
    if numbers.packet_mark.0 & numbers.return_mark.0 != 0 {
        return Err(value("--return-mark", "holds a bit of --packet-mark".to_owned(), remedy));
    }
    if numbers.ct_mark.0 & numbers.node_mark.0 != 0 {
        return Err(value("--node-mark", "holds a bit of --ct-mark".to_owned(), remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        parsed(line).expect_err(line).to_string()
    }

    #[test]
    fn the_data_dir_follows_the_state_dir_and_the_socket_does_not() {
        let Ok(Command::Run(options)) = parsed("run --node n1 --manifests m --state-dir /tmp/s") else { panic!() };
        assert_eq!(options.place.data_dir, PathBuf::from("/tmp/s"));
        assert_eq!(options.place.socket, PathBuf::from(ids::SOCKET));
        assert_eq!(options.steering, Steering::Auto);
    }

    #[test]
    fn a_range_that_belongs_to_somebody_is_refused_with_its_flag() {
        for range in ["200-300", "10900-11010", "5-4", "x", "0-9"] {
            assert!(refusal(&format!("uninstall --table-range {range}")).contains("--table-range"), "{range}");
        }
    }

    #[test]
    fn a_mask_must_be_wide_enough_and_in_one_piece() {
        assert!(refusal("uninstall --packet-mark 0x1f00").contains("--packet-mark"));
        assert!(refusal("uninstall --packet-mark 0x3f10").contains("in a row"));
        assert!(refusal("uninstall --ct-mark 0x3f").contains("12 or more"));
        assert!(parsed("uninstall --packet-mark 0xff000000 --ct-mark 0x000fffff").is_ok());
    }

    #[test]
    fn no_bit_has_two_meanings() {
        assert!(refusal("uninstall --packet-mark 0x7f").contains("--return-mark"));
        assert!(refusal("uninstall --return-mark 0xc0").contains("more than one bit"));
        assert!(refusal("uninstall --ct-mark 0xffffffff").contains("--node-mark"));
        assert!(parsed("uninstall --packet-mark 0x7f --return-mark 0x80").is_ok());
        assert!(refusal("uninstall --vni 0").contains("--vni"));
    }

    #[test]
    fn run_names_the_flag_that_is_missing() {
        assert!(refusal("run --manifests m").contains("--node"));
        assert!(refusal("run --node n1").contains("--manifests"));
        assert!(refusal("run --node n1 --manifests m --kubernetes").contains("--kubernetes"));
        assert!(refusal("run --node n1 --manifests m --kubeconfig k").contains("--kubernetes"));
        assert!(refusal("run --node n1 --manifests m --kube-vip-annotations").contains("--kubernetes"));
        assert!(refusal("run --node n1 --manifests m --startup-taint t").contains("--kubernetes"));
        assert!(refusal("run --node n1 --manifests m --metrics-addr 7344").contains("127.0.0.1:7344"));
        assert!(refusal("run --node n1 --manifests m --replication maybe").contains("--replication"));
        assert!(refusal("run --node n1 --manifests m --nod x").contains("--nod"));
        assert!(refusal("walk").contains("walk"));
    }

    #[test]
    fn uninstall_does_not_take_the_plugin_away_from_a_configuration_it_leaves() {
        assert!(refusal("uninstall --cni-bin-dir /b").contains("--cni-conf-dir"));
        let Ok(Command::Uninstall(options)) = parsed("uninstall --cni-conf-dir /c --cni-bin-dir /b --then-wait") else {
            panic!()
        };
        assert_eq!(options.afterwards, Afterwards::Wait);
        assert!(refusal("run --then-wait").contains("--then-wait"));
    }

    #[test]
    fn the_source_is_a_folder_or_the_api() {
        let source = |line: &str| match parsed(line) {
            Ok(Command::Run(options)) => options.source,
            other => panic!("{other:?}"),
        };
        assert_eq!(source("run --node n1 --manifests m"), SourceOptions::Manifests("m".into()));
        assert_eq!(source("run --node n1 --kubernetes"), SourceOptions::Kubernetes(KubernetesOptions::default()));
        let options = KubernetesOptions {
            kubeconfig: Some("k".into()),
            startup_taint: Some("t".into()),
            annotations: Annotations::KubeVipToo,
        };
        let line = "run --kubernetes --kubeconfig k --startup-taint t --kube-vip-annotations --node n1";
        assert_eq!(source(line), SourceOptions::Kubernetes(options));
    }

    #[test]
    fn status_takes_a_format() {
        let Ok(Command::Status(options)) = parsed("status -o json --socket /s") else { panic!() };
        assert_eq!((options.format, options.socket), (Format::Json, "/s".into()));
    }
}
