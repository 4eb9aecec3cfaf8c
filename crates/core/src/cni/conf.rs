//! The network configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::{annotation, ids};

use super::environment::{Target, is_identifier};
use super::error::Problem;

/// Limits of `timeoutMilliseconds`.
const TIMEOUT_RANGE: (u64, u64) = (1, 60_000);
/// Default of `timeoutMilliseconds`.
const TIMEOUT: u64 = 10_000;

/// What happens to a pod while the helper cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenHelperDown {
    /// Pods that ask for a route fail, others pass.
    #[default]
    FailSelected,
    /// Every pod fails.
    FailAll,
    /// Every pod passes.
    Pass,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// What somebody should look at.
    Warn,
    /// One line for each command.
    #[default]
    Info,
    /// More.
    Debug,
    /// Everything.
    Trace,
}

/// The network configuration after validation; defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConf {
    /// `name`; empty only where a broken configuration is tolerated (DEL, VERSION).
    pub name: String,
    /// `helperSocket`, absolute.
    pub helper_socket: PathBuf,
    /// `stateDir`, absolute.
    pub state_dir: PathBuf,
    /// `dataDir`, absolute.
    pub data_dir: PathBuf,
    /// `timeoutMilliseconds`, 1..=60000 ms.
    pub timeout: Duration,
    /// `whenHelperDown`.
    pub when_helper_down: WhenHelperDown,
    /// `logLevel`.
    pub log_level: LogLevel,
    /// `logFile`; `None` = no log.
    pub log_file: Option<PathBuf>,
    /// `routes`, unparsed objects.
    pub routes: Vec<serde_json::Value>,
    /// Annotations of `sortie.dev/` in `runtimeConfig`.
    pub annotations: BTreeMap<String, String>,
    /// Keys that neither CNI nor this plugin knows: most likely misspelt.
    pub unknown: Vec<String>,
}

/// Keys of the specification and of common runtimes that mean nothing to us (CNI spec 1.1.0, section 1; `cni.dev/`
/// is reserved).
const FOREIGN: [&str; 10] =
    ["cniVersion", "type", "capabilities", "prevResult", "args", "ipam", "dns", "ipMasq", "disableCheck", "disableGC"];
/// Keys of [`RawConf`] that are not reserved, and the mark of the installer.
const OWN: [&str; 10] = [
    "name",
    "helperSocket",
    "stateDir",
    "dataDir",
    "timeoutMilliseconds",
    "whenHelperDown",
    "logLevel",
    "logFile",
    "managedBy",
    "routes",
];

/// The configuration as JSON: every key may be absent or null.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawConf {
    name: Option<String>,
    helper_socket: Option<String>,
    state_dir: Option<String>,
    data_dir: Option<String>,
    timeout_milliseconds: Option<u64>,
    when_helper_down: Option<String>,
    log_level: Option<String>,
    log_file: Option<String>,
    routes: Option<Vec<serde_json::Map<String, serde_json::Value>>>,
    runtime_config: Option<RuntimeConfig>,
    #[serde(rename = "cni.dev/valid-attachments", deserialize_with = "null_is_empty")]
    valid: Option<Vec<Valid>>,
    #[serde(skip)]
    unknown: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Deserialize)]
struct Valid {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

/// An absent key says nothing; null says that nothing is valid (Go writes an empty list so).
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Valid>>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

impl RawConf {
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let refused = |e: serde_json::Error| Problem::config("network configuration", e.to_string());
        let raw: Self = serde_json::from_str(text).map_err(refused)?;
        let keys: BTreeMap<String, IgnoredAny> = serde_json::from_str(text).map_err(refused)?;
        Ok(Self { unknown: keys.into_keys().filter(|key| is_unknown(key)).collect(), ..raw })
    }

    /// `cni.dev/valid-attachments`. An absent list would mean that everything goes, so it must be there.
    pub(super) fn valid(&self) -> Result<Vec<Target>, Problem> {
        let key = "cni.dev/valid-attachments";
        let valid = self.valid.as_ref().ok_or_else(|| Problem::config(key, "is required for GC"))?;
        let target = |v: &Valid| Target { container_id: v.container_id.clone(), interface: v.ifname.clone() };
        Ok(valid.iter().map(target).collect())
    }
}

fn is_unknown(key: &str) -> bool {
    let is_known = |known: &[&str]| known.contains(&key);
    !is_known(&OWN) && !is_known(&FOREIGN) && key != "runtimeConfig" && !key.starts_with("cni.dev/")
}

impl NetConf {
    /// # Errors
    /// The first key out of its rules.
    pub(super) fn strict(raw: RawConf) -> Result<Self, Problem> {
        let name = raw.name.unwrap_or_default();
        if !is_identifier(&name) {
            return Err(Problem::config("name", "is required and must match ^[a-zA-Z0-9][a-zA-Z0-9_.\\-]*$"));
        }
        let annotations = raw.runtime_config.and_then(|r| r.annotations).unwrap_or_default();
        Ok(Self {
            name,
            helper_socket: path("helperSocket", raw.helper_socket)?.unwrap_or_else(|| ids::SOCKET.into()),
            state_dir: path("stateDir", raw.state_dir)?.unwrap_or_else(|| ids::STATE_DIR.into()),
            data_dir: path("dataDir", raw.data_dir)?.unwrap_or_else(|| ids::DATA_DIR.into()),
            timeout: timeout(raw.timeout_milliseconds.unwrap_or(TIMEOUT))?,
            when_helper_down: when_helper_down(raw.when_helper_down.as_deref())?,
            log_level: log_level(raw.log_level.as_deref())?,
            log_file: path("logFile", raw.log_file)?,
            routes: raw.routes.unwrap_or_default().into_iter().map(serde_json::Value::Object).collect(),
            annotations: annotations.into_iter().filter(|(key, _)| key.starts_with(annotation::PREFIX)).collect(),
            unknown: raw.unknown,
        })
    }

    /// What can be used of it; the paths matter most, because state is found there.
    pub(super) fn lenient(raw: RawConf) -> Self {
        Self::strict(raw.clone()).unwrap_or_else(|_| Self {
            helper_socket: path("", raw.helper_socket).ok().flatten().unwrap_or_else(|| ids::SOCKET.into()),
            state_dir: path("", raw.state_dir).ok().flatten().unwrap_or_else(|| ids::STATE_DIR.into()),
            data_dir: path("", raw.data_dir).ok().flatten().unwrap_or_else(|| ids::DATA_DIR.into()),
            log_file: path("", raw.log_file).ok().flatten(),
            ..Self::default()
        })
    }
}

impl Default for NetConf {
    fn default() -> Self {
        Self {
            name: String::new(),
            helper_socket: ids::SOCKET.into(),
            state_dir: ids::STATE_DIR.into(),
            data_dir: ids::DATA_DIR.into(),
            timeout: Duration::from_millis(TIMEOUT),
            when_helper_down: WhenHelperDown::default(),
            log_level: LogLevel::default(),
            log_file: None,
            routes: Vec::new(),
            annotations: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }
}

/// Empty counts as absent, as Go's `omitempty` writes it.
fn path(key: &str, value: Option<String>) -> Result<Option<PathBuf>, Problem> {
    match value {
        Some(value) if value.starts_with('/') && !value.contains('\0') => Ok(Some(value.into())),
        Some(value) if !value.is_empty() => {
            Err(Problem::config(key, format!("is {value:?}; it must be an absolute path")))
        }
        _ => Ok(None),
    }
}

fn timeout(milliseconds: u64) -> Result<Duration, Problem> {
    let (least, most) = TIMEOUT_RANGE;
    if (least..=most).contains(&milliseconds) {
        return Ok(Duration::from_millis(milliseconds));
    }
    Err(Problem::config("timeoutMilliseconds", format!("is {milliseconds}; it must be {least} to {most}")))
}

fn when_helper_down(value: Option<&str>) -> Result<WhenHelperDown, Problem> {
    Ok(match value {
        None | Some("" | "FailSelected") => WhenHelperDown::FailSelected,
        Some("FailAll") => WhenHelperDown::FailAll,
        Some("Pass") => WhenHelperDown::Pass,
        Some(other) => {
            let reason = format!("is {other:?}; it must be FailSelected, FailAll or Pass");
            return Err(Problem::config("whenHelperDown", reason));
        }
    })
}

fn log_level(value: Option<&str>) -> Result<LogLevel, Problem> {
    Ok(match value {
        Some("off") => LogLevel::Off,
        Some("error") => LogLevel::Error,
        Some("warn") => LogLevel::Warn,
        None | Some("" | "info") => LogLevel::Info,
        Some("debug") => LogLevel::Debug,
        Some("trace") => LogLevel::Trace,
        Some(other) => {
            let reason = format!("is {other:?}; it must be off, error, warn, info, debug or trace");
            return Err(Problem::config("logLevel", reason));
        }
    })
}
