//! The API server the other tests talk to, seen by kubectl.

use std::time::Instant;

use anyhow::{Result, ensure};
use sortie_testkit::Net;
use sortie_testkit::kube::{ApiServer, Scope};

const ACCOUNT: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: voice}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: voice}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [namespaces], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: voice}]
";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: voice}
spec: {nodeName: n1, containers: [{name: c, image: none}]}
";

fn start(net: &Net) -> Result<ApiServer> {
    let (place, started) = (net.namespace("api")?, Instant::now());
    let api = ApiServer::start(&place, &net.scratch().folder("api")?, Scope::Alone)?;
    eprintln!("ready in {} ms", started.elapsed().as_millis());
    Ok(api)
}

#[test]
fn a_namespace_that_was_made_is_listed_also_after_an_outage() -> Result<()> {
    let net = Net::new()?;
    let mut api = start(&net)?;
    let kubectl = api.kubectl()?;
    kubectl.run(&["create", "namespace", "voice"])?;
    api.stop();
    ensure!(kubectl.run(&["get", "namespaces"]).is_err(), "an API server that does not run answers");
    api.resume()?;
    let listed = kubectl.get(&["namespaces"])?;
    let names: Vec<&str> =
        listed["items"].as_array().into_iter().flatten().flat_map(|n| n["metadata"]["name"].as_str()).collect();
    ensure!(names.contains(&"voice"), "{names:?}");
    Ok(())
}

#[test]
fn everybody_may_do_what_his_roles_say_and_no_more() -> Result<()> {
    let net = Net::new()?;
    let api = start(&net)?;
    let admin = api.kubectl()?;
    admin.apply(ACCOUNT)?;
    admin.apply(POD)?;
    let reader = api.kubectl_as("reader", &api.account("voice", "reader")?)?;
    reader.run(&["get", "namespace", "voice"])?;
    let stranger = api.kubectl_as("stranger", &api.kubeconfig("stranger", None)?)?;
    let node = api.kubectl_as("n1", &api.kubeconfig("system:node:n1", Some("system:nodes"))?)?;
    node.run(&["get", "pod", "--namespace", "voice", "one"])?;
    for (who, words) in
        [(&reader, ["get", "secrets"]), (&stranger, ["get", "namespaces"]), (&node, ["delete", "namespace/voice"])]
    {
        let said = who.output(&words)?;
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(!said.status.success() && error.contains("Forbidden"), "{words:?}: {error}");
    }
    Ok(())
}

#[test]
fn nothing_stays_when_it_ends() -> Result<()> {
    let net = Net::new()?;
    let folder = net.scratch().path().to_path_buf();
    drop(start(&net)?);
    drop(net);
    ensure!(!folder.exists(), "{} is left", folder.display());
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        ensure!(!line.contains(&*folder.to_string_lossy()), "still runs: {line}");
    }
    Ok(())
}
