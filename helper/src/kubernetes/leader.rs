//! Who of all helpers writes what belongs to the cluster.
//!
//! Guarantees: a helper takes the Lease only when it was free, or saw it unchanged for as long as it lasts by its own
//! clock; it stops to lead well before another may begin. Of two that try at once the API server lets one through.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::Instant;

/// Name of the Lease, in the namespace of the helper.
const NAME: &str = "sortie-leader";
/// How long it lasts without renewal.
const LASTS: Duration = Duration::from_secs(15);
const LASTS_SECONDS: i32 = 15;
/// How long a renewal counts, for who made it.
const COUNTS: Duration = Duration::from_secs(10);
/// Time between two renewals, and between two looks.
pub(super) const RENEW: Duration = Duration::from_secs(2);
const CONFLICT: u16 = 409;

/// One candidate.
pub(super) struct Election {
    leases: Api<Lease>,
    node: String,
    /// What was seen last, and since when it is so.
    seen: Option<(LeaseSpec, Instant)>,
    until: Instant,
}

impl Election {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self { leases: Api::default_namespaced(client), node, seen: None, until: Instant::now() }
    }

    /// Whether this helper leads at this moment.
    pub(super) fn leads(&self) -> bool {
        Instant::now() < self.until
    }

    /// Renews the Lease, or takes it if nobody has it.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub(super) async fn campaign(&mut self) -> Result<(), kube::Error> {
        let began = Instant::now();
        let taken = match self.leases.get_opt(NAME).await? {
            None => self.leases.create(&PostParams::default(), &self.lease(ObjectMeta::default(), None)).await,
            Some(lease) if self.may_take(&lease) => {
                let mine = self.lease(lease.metadata, lease.spec);
                self.leases.replace(NAME, &PostParams::default(), &mine).await
            }
            Some(_) => {
                self.until = began;
                return Ok(());
            }
        };
        match taken {
            Ok(_) => {
                if !self.leads() {
                    log::info!("this helper writes for the cluster");
                }
                self.until = began + COUNTS;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == CONFLICT => {
                self.until = began;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn may_take(&mut self, lease: &Lease) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_ref().is_none_or(|holder| holder.is_empty() || *holder == self.node) {
            return true;
        }
        match &self.seen {
            Some((seen, since)) if *seen == spec => since.elapsed() > LASTS,
            _ => {
                self.seen = Some((spec, Instant::now()));
                false
            }
        }
    }

    fn lease(&self, metadata: ObjectMeta, before: Option<LeaseSpec>) -> Lease {
        let before = before.unwrap_or_default();
        let is_mine = before.holder_identity.as_ref() == Some(&self.node);
        let now = MicroTime(Timestamp::now());
        let transitions = before.lease_transitions.unwrap_or_default();
        let spec = LeaseSpec {
            acquire_time: before.acquire_time.filter(|_| is_mine).or_else(|| Some(now.clone())),
            holder_identity: Some(self.node.clone()),
            lease_duration_seconds: Some(LASTS_SECONDS),
            lease_transitions: Some(if is_mine { transitions } else { transitions.saturating_add(1) }),
            renew_time: Some(now),
            ..LeaseSpec::default()
        };
        Lease { metadata: ObjectMeta { name: Some(NAME.to_owned()), ..metadata }, spec: Some(spec) }
    }
}
