//! `forget-services`: what helpers wrote into Services goes.
//!
//! Guarantees: only fields that belong to our managers are taken, whatever they are, and a Service none of them ever
//! wrote is not touched. Leaves out: objects of our own kinds, which go with their definitions, and helpers that still
//! run and would write again.

use std::collections::BTreeSet;

use anyhow::Context as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use sortie_core::model::Kind;

use super::kinds::{self, Watched};
use super::statuses::{list, name};
use super::{connect, services, write};
use crate::cli::ForgetOptions;
use crate::logging;

/// Takes our fields off all Services of the cluster.
pub(crate) fn forget(options: &ForgetOptions) -> anyhow::Result<()> {
    logging::start(options.log_level, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    let count = runtime.block_on(async {
        let client = connect::client(connect::config(options.kubeconfig.as_deref()).await?)?;
        let services = kinds::of(Kind::Service).context("Services are no kind")?;
        sweep(&client, services).await.map_err(anyhow::Error::msg)
    })?;
    log::info!("taken off services={count}");
    Ok(())
}

async fn sweep(client: &Client, services: &Watched) -> Result<usize, String> {
    let mut count = 0;
    for service in list(client, services).await? {
        let managers = service.metadata.managed_fields.iter().flatten().filter_map(|fields| fields.manager.as_deref());
        let managers: BTreeSet<&str> = managers.collect();
        let name = name(&service);
        let api = services.api(client, &name.namespace);
        for manager in [services::MANAGER, write::MANAGER].into_iter().filter(|ours| managers.contains(ours)) {
            log::info!("taking off service={name} manager={manager}");
            let cleared = clear(&api, manager, &name.name).await;
            cleared.map_err(|error| format!("Service {name}: {error}"))?;
            count += 1;
        }
    }
    Ok(count)
}

/// A manager that applies nothing loses what it had (server-side apply), in the object and in its status. Unlike a
/// status that is due, this is not judged anew after a conflict, which is an error therefore.
async fn clear(api: &Api<DynamicObject>, manager: &str, name: &str) -> Result<(), String> {
    let params = PatchParams::apply(manager).force();
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}});
    let mut status = object.clone();
    status["status"] = json!({});
    for outcome in [
        api.patch(name, &params, &Patch::Apply(object)).await,
        api.patch_status(name, &params, &Patch::Apply(status)).await,
    ] {
        match outcome {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => return Err(crate::node::chain(&error)),
        }
    }
    Ok(())
}
