//! Messages.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sortie_core::explain::{Explanation, Question};
use sortie_core::model::Attachment;
use sortie_core::state::Rule;

/// Version of this contract; a peer with another one is refused.
pub const VERSION: u32 = 1;

/// What the plugin sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`].
    pub version: u32,
    /// The request.
    pub request: Request,
}

/// Requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// ADD.
    Attach(Attachment),
    /// DEL.
    Detach(AttachmentKey),
    /// CHECK.
    Check {
        /// Which.
        key: AttachmentKey,
        /// What the runtime believes its addresses to be; at least one.
        addresses: Vec<IpAddr>,
    },
    /// GC: everything of `network` that is not in `valid` goes.
    Gc {
        /// Net conf `name`.
        network: String,
        /// `cni.dev/valid-attachments`.
        valid: Vec<AttachmentKey>,
    },
    /// STATUS, and the operator's `status`.
    Status,
    /// The operator's `explain`.
    Explain(Question),
}

/// Identity of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentKey {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub interface: String,
}

impl AttachmentKey {
    /// Key of an attachment.
    #[must_use]
    pub fn of(attachment: &Attachment) -> Self {
        Self { container_id: attachment.container_id.clone(), interface: attachment.interface.clone() }
    }
    /// File name of the attachment in `<state-dir>/attachments`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.json", self.container_id, self.interface)
    }

    /// Its name when the attachment is gone, until its flows are forgotten.
    #[must_use]
    pub fn detached_file_name(&self) -> String {
        self.file_name() + DETACHED
    }
}

/// Ending of such a name.
pub const DETACHED: &str = ".detached";

/// What the helper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// Attach succeeded; install these rules.
    Attached {
        /// Whether any flow of the pod is selected.
        selected: bool,
        /// Per-pod rules for the plugin to install.
        rules: Vec<Rule>,
    },
    /// Detach or gc succeeded.
    Done,
    /// Check finished; empty = the kernel is as it should be.
    Checked {
        /// What is missing or foreign, one sentence each.
        drift: Vec<String>,
    },
    /// Status.
    Status(Box<StatusReport>),
    /// What becomes of a packet.
    Explained(Box<Explanation>),
    /// Refused or failed.
    Failed(Failure),
}

/// A refusal in CNI terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code}): {details}")]
pub struct Failure {
    /// CNI error code: 11 try again, from 100 ours (`docs/configuration.md`).
    pub code: u32,
    /// Short.
    pub message: String,
    /// Object, field, remedy.
    pub details: String,
}

/// An attachment as the helper keeps it on disk; the plugin reads it when the helper is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredAttachment {
    /// What the runtime announced.
    pub attachment: Attachment,
    /// Per-pod rules that belong to it.
    pub rules: Vec<Rule>,
}

/// Answer of `status`; stable for scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusReport {
    /// Node name.
    pub node: String,
    /// Whether the last reconcile was verified.
    pub ready: bool,
    /// Why not, when not.
    pub reason: String,
    /// `rules` or `marks`: what `--steering` means at present.
    pub steering: String,
    /// Attachments known / selected.
    pub attachments: usize,
    /// Attachments with at least one selected flow.
    pub selected: usize,
    /// Routes used on this node.
    pub routes: Vec<RouteStatus>,
    /// Addresses of Services of class `sortie.dev/vip`.
    pub addresses: Vec<AddressStatus>,
    /// Conditions of objects, one line each: `Kind name: Type=Status Reason message`.
    pub conditions: Vec<String>,
    /// Guard counters: packets dropped, by counter name.
    pub dropped: std::collections::BTreeMap<String, u64>,
    /// Messages of other helpers that were refused, by reason.
    pub refused: std::collections::BTreeMap<String, u64>,
    /// Reconciles that changed something since start.
    pub repairs: u64,
}

/// One route in [`StatusReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteStatus {
    /// Route name.
    pub name: String,
    /// Its table.
    pub table: u32,
    /// Its exit number on this node.
    pub exit: u8,
    /// Next hops in use, `192.168.50.1 dev eth1 weight 1`.
    pub next_hops: Vec<String>,
    /// Next hops that cannot be used, with the reason.
    pub unusable: Vec<String>,
}

/// One Service with addresses in [`StatusReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AddressStatus {
    /// `namespace/name`.
    pub service: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The node that owns them, if one does and is known.
    pub owner: Option<String>,
    /// Devices of this node that answer for them; empty where another node owns them.
    pub devices: Vec<String>,
}
