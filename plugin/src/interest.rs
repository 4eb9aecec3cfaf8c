//! Whether a pod asks for a route, known without the helper.

use std::io::ErrorKind;

use sortie_core::cni::NetConf;
use sortie_core::model::Attachment;

/// Every namespace.
const ALL: &str = "*";

/// Whether the pod may have to be routed: its annotations or the net conf say so, or some object selects its
/// namespace.
pub(crate) fn asks(conf: &NetConf, attachment: &Attachment) -> bool {
    if !attachment.annotations.is_empty() || !attachment.routes.is_empty() {
        return true;
    }
    let Some(pod) = &attachment.pod else { return false };
    match std::fs::read_to_string(conf.data_dir.join("interest")) {
        Ok(text) => text.lines().map(str::trim).any(|line| line == ALL || line == pod.namespace),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        // Not to know is not to be told no.
        Err(error) => {
            log::warn!("interest file cannot be read directory={} error={error}", conf.data_dir.display());
            true
        }
    }
}
