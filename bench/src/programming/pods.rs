//! Pods by the thousand.
//!
//! Guarantees: the helper knows them as it knows pods after a restart, by the files of their attachments; each is a copy of
//! one that the plugin attached, with a name and addresses of its own. Leaves out: their namespaces and interfaces, which
//! nobody looks at.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::{Helper, Lab, Main, Network, manifest, plugin};

/// The file of an attachment.
#[derive(Clone, Debug)]
pub(crate) struct Template(Value);

impl Template {
    /// Attaches a pod in a lab of its own and keeps what the helper wrote.
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new()?;
        lab.manifest("node.yaml", &manifest::node())?;
        let _helper = Helper::start(&lab, &["--log-level", "warn"])?;
        let previous = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "veth0"}, {"name": "eth0", "sandbox": "/run/netns/none"}],
            "ips": [{"address": "10.244.1.2/24", "interface": 1}, {"address": "fd00:244:1::2/64", "interface": 1}],
            "dns": {}
        });
        let conf = Network::new(&lab, Main::Bridge)?.own_part(Some(&previous));
        let environment = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "template"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/run/netns/none"),
            ("CNI_PATH", "/nowhere"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=template"),
        ];
        let answer = plugin::call(&lab.node, &environment, conf.to_string().as_bytes())?;
        ensure!(answer.is_success, "ADD: {}{}", answer.text, answer.error);
        let file = lab.path("state/attachments/template-eth0.json");
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self(serde_json::from_str(&text).context("the attachment is no JSON")?))
    }

    /// Writes the files of pods that are not there yet. No helper runs.
    pub(crate) fn write(&self, lab: &Lab, numbers: std::ops::Range<usize>) -> Result<()> {
        let folder = lab.net().scratch().folder("state/attachments")?;
        numbers.into_iter().try_for_each(|number| self.write_one(&folder, number))
    }

    fn write_one(&self, folder: &Path, number: usize) -> Result<()> {
        let (name, mut stored) = (format!("pod-{number}"), self.0.clone());
        let attachment = &mut stored["attachment"];
        attachment["containerId"] = json!(name);
        attachment["pod"]["name"] = json!(name);
        attachment["addresses"] = json!([four(number)?, six(number)?]);
        let file = folder.join(format!("{name}-eth0.json"));
        std::fs::write(&file, stored.to_string()).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn four(number: usize) -> Result<Ipv4Addr> {
    let host = u32::try_from(number).context("too many pods")?;
    Ok(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 1, 2)) + host))
}

fn six(number: usize) -> Result<Ipv6Addr> {
    let host = u16::try_from(number + 2).context("too many pods")?;
    Ok(Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, host))
}
