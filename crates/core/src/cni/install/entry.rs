//! Our entry in a list of plugins.

use serde_json::{Map, Value, json};

use super::super::conf::{NetConf, RawConf};
use crate::model::{Reason, Rejection};

/// `type` of our plugin.
pub(super) const TYPE: &str = "sortie";
/// The key that tells an entry of the installer from one written by hand.
pub(super) const MARK: &str = "managedBy";
/// Its value.
const INSTALLER: &str = "sortie-helper install";
/// Keys that the installer or the runtime writes.
const RESERVED: [&str; 6] = ["type", MARK, "name", "cniVersion", "prevResult", "runtimeConfig"];

/// The entry the installer writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(pub(super) Map<String, Value>);

impl Entry {
    /// An entry with these keys of the net conf (`docs/configuration.md`) in addition to those every entry has.
    ///
    /// # Errors
    /// What the plugin would refuse or not know.
    pub fn new(settings: Map<String, Value>) -> Result<Self, Rejection> {
        if let Some(key) = settings.keys().find(|key| RESERVED.contains(&key.as_str())) {
            return Err(refused(key, "is written by the installer or the runtime".to_owned()));
        }
        let mut entry = Map::new();
        entry.insert("type".to_owned(), json!(TYPE));
        entry.insert(MARK.to_owned(), json!(INSTALLER));
        entry.insert("capabilities".to_owned(), json!({"io.kubernetes.cri.pod-annotations": true}));
        entry.extend(settings);
        is_understood(&entry)?;
        Ok(Self(entry))
    }
}

/// The plugin's own reader decides, as it will when a pod starts.
fn is_understood(entry: &Map<String, Value>) -> Result<(), Rejection> {
    let mut whole = entry.clone();
    whole.insert("name".to_owned(), json!("net"));
    let text = Value::Object(whole).to_string();
    let conf = RawConf::read(&text).and_then(NetConf::strict).map_err(|e| refused("value", e.to_string()))?;
    match conf.unknown.first() {
        Some(key) => Err(refused(key, "is unknown".to_owned())),
        None => Ok(()),
    }
}

fn refused(field: &str, message: String) -> Rejection {
    Rejection {
        reason: Reason::Invalid,
        object: "--net-conf".to_owned(),
        field: field.to_owned(),
        message,
        remedy: "give keys of the net conf as docs/configuration.md lists them".to_owned(),
    }
}
