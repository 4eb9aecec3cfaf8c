//! Configuration lists.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{ANNOTATIONS, Cni};
use crate::helper::socket;
use crate::lab::{Lab, POD_NET4, POD_NET6};

/// The plugin that makes the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Main {
    /// Reference plugin `bridge`.
    Bridge,
    /// Reference plugin `ptp`.
    Ptp,
}

/// A configuration list in the making: an interface with addresses of both families, then `sortie`.
#[derive(Clone, Debug)]
pub struct Network<'a> {
    lab: &'a Lab,
    name: String,
    version: String,
    main: Value,
    between: Vec<Value>,
    sortie: Value,
}

impl<'a> Network<'a> {
    /// A network called `pods`, CNI 1.1.0.
    ///
    /// # Errors
    /// When the folder of leases cannot be created.
    pub fn new(lab: &'a Lab, main: Main) -> Result<Self> {
        let scratch = lab.net().scratch();
        let ipam = json!({
            "type": "host-local",
            "dataDir": scratch.folder("leases")?,
            "ranges": [[{"subnet": POD_NET4}], [{"subnet": POD_NET6}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        });
        let main = match main {
            Main::Bridge => {
                json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": ipam})
            }
            Main::Ptp => json!({"type": "ptp", "ipMasq": true, "ipam": ipam}),
        };
        let sortie = json!({
            "type": "sortie",
            "capabilities": {ANNOTATIONS: true},
            "helperSocket": socket(lab),
            "stateDir": scratch.folder("state")?,
            "dataDir": scratch.folder("data")?,
            "timeoutMilliseconds": 10_000,
            "logFile": scratch.path().join("plugin.log"),
        });
        Ok(Self { lab, name: "pods".into(), version: "1.1.0".into(), main, between: Vec::new(), sortie })
    }

    /// Another name; two networks with different names live side by side.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Another version of CNI.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        Self { version: version.to_owned(), ..self }
    }

    /// With the reference plugin `portmap` before ours.
    #[must_use]
    pub fn portmap(mut self) -> Self {
        self.between.push(json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}));
        self
    }

    /// Another value of one key of ours; null removes it.
    #[must_use]
    pub fn sortie(mut self, key: &str, value: Value) -> Self {
        if value.is_null() {
            self.sortie.as_object_mut().map(|object| object.remove(key));
        } else {
            self.sortie[key] = value;
        }
        self
    }

    /// The only address of each family that is given out.
    #[must_use]
    pub fn only(mut self, addresses: [IpAddr; 2]) -> Self {
        let ranges = addresses.map(|address| {
            let subnet = if address.is_ipv4() { POD_NET4 } else { POD_NET6 };
            json!([{"subnet": subnet, "rangeStart": address, "rangeEnd": address}])
        });
        self.main["ipam"]["ranges"] = json!(ranges);
        self
    }

    /// The list as it will be written.
    #[must_use]
    pub fn document(&self) -> Value {
        let plugins: Vec<&Value> = [&self.main].into_iter().chain(&self.between).chain([&self.sortie]).collect();
        json!({"cniVersion": self.version, "name": self.name, "plugins": plugins})
    }

    /// Our own part as a plugin gets it, with a previous result if there is one.
    #[must_use]
    pub fn own_part(&self, previous: Option<&Value>) -> Value {
        let mut own = self.sortie.clone();
        own["cniVersion"] = json!(self.version);
        own["name"] = json!(self.name);
        if let Some(previous) = previous {
            own["prevResult"] = previous.clone();
        }
        own
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written or a plugin cannot be built.
    pub fn write(&self) -> Result<Cni<'a>> {
        let folder: PathBuf = self.lab.net().scratch().folder("net.d")?;
        let path = folder.join(format!("{}.conflist", self.name));
        let text = serde_json::to_string_pretty(&self.document()).context("cannot write JSON")?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Cni::new(self.lab, &self.name, folder)
    }
}
