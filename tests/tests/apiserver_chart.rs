//! The Helm chart, put in by Helm itself.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use sortie_testkit::kube::{ApiServer, Scope};
use sortie_testkit::tools::{Group, ensure};
use sortie_testkit::{Net, command, programs};

#[test]
fn helm_installs_the_chart_with_its_options_and_takes_it_away() -> Result<()> {
    let net = Net::new()?;
    let (place, folder) = (net.namespace("api")?, net.scratch().folder("api")?);
    let api = ApiServer::start(&place, &folder, Scope::Alone)?;
    let kubectl = api.kubectl()?;
    let kubeconfig = folder.join("helm.kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig("helm", Some("system:masters"))?).context("cannot write")?;
    let program = ensure(Group::Manifests)?.join("helm");
    let helm = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).args(["--namespace", "sortie-system", "--kubeconfig"]).arg(&kubeconfig);
        // What Helm remembers stays with the test.
        command.env("HOME", &folder).current_dir(programs::workspace());
        place.with(|| command::text(&mut command, ""))
    };
    kubectl.run(&["create", "namespace", "sortie-system"])?;
    helm(&["install", "sortie", "install/helm/sortie", "--set", "startupTaint=true,settings.LOG_LEVEL=debug"])?;
    let set = kubectl.get(&["-n", "sortie-system", "daemonset", "sortie"])?;
    let words = set["spec"]["template"]["spec"]["containers"][0]["command"].to_string();
    ensure!(words.contains("--startup-taint=sortie.dev/not-ready"), "{words}");
    let settings = kubectl.get(&["-n", "sortie-system", "configmap", "sortie"])?;
    ensure!(settings["data"]["LOG_LEVEL"] == "debug", "{settings}");
    for object in
        ["validatingadmissionpolicy/sortie-startup-taint", "clusterrole/sortie-helper", "crd/egresspolicies.sortie.dev"]
    {
        kubectl.run(&["get", object])?;
    }
    helm(&["upgrade", "sortie", "install/helm/sortie", "--set", "startupTaint=false"])?;
    ensure!(kubectl.run(&["get", "validatingadmissionpolicy/sortie-startup-taint"]).is_err(), "the policy stayed");
    helm(&["uninstall", "sortie"])?;
    ensure!(kubectl.run(&["-n", "sortie-system", "get", "daemonset", "sortie"]).is_err(), "the DaemonSet stayed");
    Ok(())
}
