//! `forget-services`: what helpers wrote into Services goes.
//!
//! Guarantees: only fields that belong to our managers are taken, whatever they are, and a Service none of them ever
//! wrote is not touched. Leaves out: objects of our own kinds, which go with their definitions, and helpers that still
//! run and would write again.

use anyhow::{Context as _, bail};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sortie_core::model::Kind;

use super::kinds::{self, Watched};
use super::{connect, services, write};
use crate::cli::ForgetOptions;
use crate::logging;

/// Objects in a page.
const PAGE: u32 = 500;

/// Takes our fields off all Services of the cluster.
pub(crate) fn forget(options: &ForgetOptions) -> anyhow::Result<()> {
    logging::start(options.log_level, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    let count = runtime.block_on(async {
        let client = connect::client(connect::config(options.kubeconfig.as_deref()).await?)?;
        let services = kinds::of(Kind::Service).context("Services are no kind")?;
        sweep(&client, services).await
    })?;
    log::info!("taken off services={count}");
    Ok(())
}

async fn sweep(client: &Client, services: &Watched) -> anyhow::Result<usize> {
    let (everywhere, mut page, mut count) = (services.api(client, ""), ListParams::default().limit(PAGE), 0);
    loop {
        let found = everywhere.list_metadata(&page).await.context("list Services")?;
        for service in &found.items {
            let metadata = &service.metadata;
            let (Some(name), Some(namespace)) = (&metadata.name, &metadata.namespace) else { continue };
            let managers: Vec<&str> =
                metadata.managed_fields.iter().flatten().filter_map(|f| f.manager.as_deref()).collect();
            for manager in [services::MANAGER, write::MANAGER].into_iter().filter(|ours| managers.contains(ours)) {
                log::info!("taking off service={namespace}/{name} manager={manager}");
                let said = || format!("Service {namespace}/{name}");
                clear(&services.api(client, namespace), name, manager).await.with_context(said)?;
                count += 1;
            }
        }
        match found.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(count),
        }
    }
}

/// A manager that applies nothing loses what it had (server-side apply), in the object and in its status.
async fn clear(api: &Api<DynamicObject>, name: &str, manager: &str) -> anyhow::Result<()> {
    let params = PatchParams::apply(manager).force();
    let nothing = |more: Value| {
        let mut patch = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}});
        if let (Some(patch), Value::Object(more)) = (patch.as_object_mut(), more) {
            patch.extend(more);
        }
        Patch::Apply(patch)
    };
    for outcome in [
        api.patch(name, &params, &nothing(json!({}))).await,
        api.patch_status(name, &params, &nothing(json!({"status": {}}))).await,
    ] {
        match outcome {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => bail!("{}", crate::node::chain(&error)),
        }
    }
    Ok(())
}
