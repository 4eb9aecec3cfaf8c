//! The plugins that are compared, and the pods they are called for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sortie_testkit::tools::{Group, ensure};
use sortie_testkit::{Lab, Main, Namespace, Network, programs};

use crate::add::measure::{Call, Verb};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Ours, for a pod with a route, when another pod with the same wishes is there.
    Selected,
    /// Ours, for the first pod with its wishes.
    First,
    /// Ours, for a pod that asks for nothing.
    Unselected,
    /// Reference: source-based routing inside the pod.
    Sbr,
    /// Reference: port mappings by iptables.
    Portmap,
    /// Reference: one switch of the pod's kernel.
    Tuning,
}

impl Subject {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 6] =
        [Self::Selected, Self::First, Self::Unselected, Self::Sbr, Self::Portmap, Self::Tuning];

    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Selected => "sortie, selected pod",
            Self::First => "sortie, first pod with its wishes",
            Self::Unselected => "sortie, other pod",
            Self::Sbr => "sbr",
            Self::Portmap => "portmap",
            Self::Tuning => "tuning",
        }
    }

    /// The call for a pod.
    pub(crate) fn call(self, bridge: &Bridge<'_>, pod: &Pod) -> Result<Call> {
        let reference = |name: &str, more: Value| -> Result<(PathBuf, Value)> {
            let mut conf = json!({"cniVersion": VERSION, "name": "bench", "type": name, "prevResult": pod.result});
            merge(&mut conf, more);
            Ok((bridge.tools.join(name), conf))
        };
        let own = |more: Value| -> Result<(PathBuf, Value)> {
            let mut conf = bridge.network.own_part(Some(&pod.result));
            merge(&mut conf, more);
            Ok((programs::ours("sortie")?, conf))
        };
        let (program, conf) = match self {
            Self::Selected => own(json!({"routes": wishes()})),
            Self::First => own(json!({"routes": [{"route": "b", "ports": [format!("udp:{}", 10_000 + pod.number)]}]})),
            Self::Unselected => own(json!({})),
            Self::Sbr => reference("sbr", json!({})),
            Self::Portmap => reference(
                "portmap",
                json!({"snat": true, "runtimeConfig": {"portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}),
            ),
            Self::Tuning => reference(
                "tuning",
                json!({"sysctl": {"net.core.somaxconn": "500"}, "dataDir": bridge.lab.path("tuning")}),
            ),
        }?;
        Ok(bridge.invocation(program, &conf, &pod.namespace))
    }

    /// The call of ours for a pod with a route that waits for the helper for so long only.
    pub(crate) fn impatient(bridge: &Bridge<'_>, pod: &Pod, limit: Duration) -> Result<Call> {
        let mut conf = bridge.network.own_part(Some(&pod.result));
        merge(&mut conf, json!({"routes": wishes(), "timeoutMilliseconds": limit.as_millis()}));
        Ok(bridge.invocation(programs::ours("sortie")?, &conf, &pod.namespace))
    }

    /// Whether it is one of ours.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Selected | Self::First | Self::Unselected)
    }
}

fn wishes() -> Value {
    json!([{"route": "b", "ports": ["udp:5060"]}])
}

/// Version of CNI in every call.
const VERSION: &str = "1.0.0";

/// Makes pods by calling the reference plugin `bridge` directly.
pub(crate) struct Bridge<'a> {
    lab: &'a Lab,
    network: Network<'a>,
    tools: PathBuf,
    conf: Value,
}

/// A pod with an interface.
pub(crate) struct Pod {
    namespace: Namespace,
    number: usize,
    result: Value,
}

impl<'a> Bridge<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Result<Self> {
        let network = Network::new(lab, Main::Bridge)?.name("bench").version(VERSION).sortie("logFile", Value::Null);
        let mut conf = network.document()["plugins"][0].clone();
        merge(&mut conf, json!({"cniVersion": VERSION, "name": "bench"}));
        Ok(Self { lab, network, tools: ensure(Group::Cni)?, conf })
    }

    /// A new pod with a label of its own; `number` is what its own wishes may depend on.
    pub(crate) fn pod(&self, label: String, number: usize) -> Result<Pod> {
        let namespace = self.lab.net().namespace(&format!("pod-{label}"))?;
        let (text, _) = self.invocation(self.tools.join("bridge"), &self.conf, &namespace).run(Verb::Add)?;
        let result = serde_json::from_str(&text).context("bridge printed no JSON")?;
        Ok(Pod { namespace, number, result })
    }

    /// Removes it.
    pub(crate) fn remove(&self, pod: &Pod) -> Result<()> {
        self.invocation(self.tools.join("bridge"), &self.conf, &pod.namespace).run(Verb::Del)?;
        self.lab.net().remove(&pod.namespace);
        Ok(())
    }

    fn invocation(&self, program: PathBuf, conf: &Value, pod: &Namespace) -> Call {
        let environment = [
            ("CNI_CONTAINERID", format!("bench-{}", pod.label())),
            ("CNI_NETNS", pod.path().display().to_string()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_PATH", self.tools.display().to_string()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Call { program, environment, input: conf.to_string() }
    }
}

/// Puts the keys of `more` into `into`.
fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}
