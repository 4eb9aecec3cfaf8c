//! What the documents say to type with kubectl and Helm, typed at an API server on which nothing runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::kube::{ApiServer, Kubectl, Scope, Shell};
use sortie_testkit::tools::{Group, ensure};
use sortie_testkit::{Net, poll, programs};
use sortie_tests::commands;

/// How long an API server may take until it tells of new kinds.
const LIMIT: Duration = Duration::from_secs(30);
/// In commands that only look: what they are to show may come a little later.
const LOOKS: [&str; 2] = [" get ", " explain "];

/// An API server, and a shell in a folder with a copy of `install`.
struct Stage {
    kubectl: Kubectl,
    shell: Shell,
    _api: ApiServer,
    _net: Net,
}

impl Stage {
    fn new() -> Result<Self> {
        // Where kubectl is, too.
        ensure(Group::Manifests)?;
        let net = Net::new()?;
        let (place, desk) = (net.namespace("api")?, net.scratch().folder("desk")?);
        let api = ApiServer::start(&place, &net.scratch().folder("api")?, Scope::Alone)?;
        let (kubectl, shell) = (api.kubectl()?, api.shell(&desk)?);
        shell.run(&format!("cp -r {} install", programs::workspace().join("install").display()))?;
        Ok(Self { kubectl, shell, _api: api, _net: net })
    }

    /// Types what is marked with `name` in a document, and compares what is printed.
    fn follow(&self, document: &str, name: &str) -> Result<()> {
        for command in commands::read(&programs::workspace().join(document), name)? {
            let (line, prints) = (command.line.as_str(), command.prints.as_deref());
            let limit = if LOOKS.iter().any(|look| line.contains(look)) { LIMIT } else { Duration::ZERO };
            let mut last = Ok(String::new());
            let fits = || {
                last = self.shell.run(line);
                let printed = last.as_ref().ok()?;
                prints.is_none_or(|prints| commands::fits(prints, printed)).then_some(())
            };
            poll(limit, line, fits).with_context(|| format!("{document}: it printed {last:?}"))?;
        }
        Ok(())
    }
}

#[test]
fn the_definitions_are_taken_and_refuse_as_the_document_says() -> Result<()> {
    let stage = Stage::new()?;
    stage.follow("docs/kubernetes.md", "definitions")?;
    stage.follow("docs/kubernetes.md", "refused")
}

#[test]
fn helm_installs_the_chart_with_its_options_and_takes_it_away() -> Result<()> {
    let stage = Stage::new()?;
    let (kubectl, system) = (&stage.kubectl, ["-n", "sortie-system"]);
    kubectl.run(&["create", "namespace", "sortie-system"])?;
    stage.follow("install/README.md", "helm")?;
    for object in ["daemonset/sortie", "configmap/sortie", "clusterrole/sortie-helper", "crd/egresspolicies.sortie.dev"]
    {
        kubectl.run(&[&system[..], &["get", object]].concat())?;
    }
    let policy = ["get", "validatingadmissionpolicy/sortie-startup-taint"];
    ensure!(kubectl.run(&policy).is_err(), "there is a policy that nobody asked for");
    stage.follow("install/README.md", "helm values")?;
    let set = kubectl.get(&["-n", "sortie-system", "daemonset", "sortie"])?;
    let words = set["spec"]["template"]["spec"]["containers"][0]["command"].to_string();
    ensure!(words.contains("--startup-taint=sortie.dev/not-ready"), "{words}");
    let settings = kubectl.get(&["-n", "sortie-system", "configmap", "sortie"])?;
    ensure!(settings["data"]["LOG_LEVEL"] == "debug", "{settings}");
    kubectl.run(&policy)?;
    stage.follow("install/README.md", "helm remove")?;
    ensure!(kubectl.run(&["-n", "sortie-system", "get", "daemonset", "sortie"]).is_err(), "the DaemonSet stayed");
    ensure!(kubectl.run(&policy).is_err(), "the policy stayed");
    kubectl.run(&["-n", "sortie-system", "get", "configmap", "sortie"]).map(drop)
}
