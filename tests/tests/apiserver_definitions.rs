//! Our definitions and the API server that judges by them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sortie_testkit::Net;
use sortie_testkit::command;
use sortie_testkit::kube::{ApiServer, Kubectl, Scope};
use sortie_tests::api::shipped;

fn start(net: &Net) -> Result<(ApiServer, Kubectl)> {
    let api = ApiServer::start(&net.namespace("api")?, &net.scratch().folder("api")?, Scope::Alone)?;
    let admin = api.kubectl()?;
    admin.apply(&shipped("crds.yaml")?)?;
    admin.run(&["wait", "--for=condition=established", "--timeout=30s", "crd", "--all"])?;
    Ok((api, admin))
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: sortie.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The same lines are judged by the reader of manifests in a test of its own.
#[test]
fn specs_are_judged_as_by_the_reader_of_manifests() -> Result<()> {
    let net = Net::new()?;
    let (_api, admin) = start(&net)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/core/testdata/specs.txt");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: Vec<(usize, &str)> = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')).collect();
    let mut documents = Vec::new();
    for (index, line) in &lines {
        let (_, rest) = line.split_at(2);
        let (kind, spec) = rest.split_once(' ').context("a line without a spec")?;
        documents.push(object(kind, &format!("line-{index}"), spec));
    }
    let file = net.scratch().path().join("specs.yaml");
    std::fs::write(&file, documents.join("---\n"))?;
    let words = ["create", "--dry-run=server", "--validate=strict", "-f", &file.to_string_lossy()];
    let said = admin.output(&words)?;
    let (out, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    let accepted: BTreeSet<&str> =
        out.lines().filter_map(|line| line.split_once(".sortie.dev/")?.1.split(' ').next()).collect();
    let wrong: Vec<_> = lines
        .iter()
        .filter(|(i, line)| line.starts_with('+') != accepted.contains(format!("line-{i}").as_str()))
        .collect();
    ensure!(wrong.is_empty(), "judged otherwise: {wrong:#?}\n{errors}");
    Ok(())
}

#[test]
fn defaults_are_filled_in_and_a_table_is_for_good() -> Result<()> {
    let net = Net::new()?;
    let (_api, admin) = start(&net)?;
    let route = |more: &str| {
        let spec = format!("{{nextHops: [{{device: eth1}}], allowedNamespaces: {{from: All}}, health: {{}}{more}}}");
        object("ServiceOutboundRoute", "r", &spec)
    };
    admin.apply(&route(""))?;
    let spec = admin.get(&["sor", "r"])?["spec"].clone();
    ensure!(spec["nextHops"][0]["weight"] == 1 && spec["nextHops"][0]["backup"] == false, "{spec}");
    ensure!(spec["whenUnavailable"] == "Drop" && spec["health"]["mode"] == "Neighbour", "{spec}");
    ensure!(spec["health"]["intervalMilliseconds"] == 1000 && spec["health"]["failures"] == 3, "{spec}");
    admin.apply(&route(", tableId: 10005"))?;
    admin.apply(&route(", tableId: 10005, mtu: 1400"))?;
    for refused in [", tableId: 10006", ""] {
        let error = admin.apply(&route(refused)).err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(error.contains("tableId: cannot be changed or removed"), "{refused:?}: {error}");
    }
    admin.apply(&object("EgressPolicy", "p", "{podSelector: {}, route: r}"))?;
    ensure!(admin.get(&["egp", "p"])?["spec"]["source"]["type"] == "Device");
    Ok(())
}

#[test]
fn columns_and_explanations_are_of_use() -> Result<()> {
    let net = Net::new()?;
    let (_api, admin) = start(&net)?;
    let spec = "{nextHops: [{gateway: 192.0.2.1, device: eth1}], allowedNamespaces: {from: All}}";
    admin.apply(&object("ServiceOutboundRoute", "r", spec))?;
    admin.apply(&object("EgressPolicy", "p", "{podSelector: {}, route: r}"))?;
    admin.apply(&object("AddressPool", "a", "{addresses: [192.0.2.0/28], allowedNamespaces: {from: All}}"))?;
    let shown = admin.run(&["get", "sor,egp,vippool"])?;
    for word in ["GATEWAY", "TABLE", "ACCEPTED", "192.0.2.1", "eth1", "192.0.2.0/28", "Device"] {
        ensure!(shown.contains(word), "{word}: {shown}");
    }
    // Every field says what it is for.
    for kind in ["sor", "egp", "vippool"] {
        let told = admin.run(&["explain", "--recursive", kind])?;
        ensure!(told.contains("spec"), "{told}");
    }
    let told = admin.run(&["explain", "sor.spec.nextHops.backup"])?;
    ensure!(told.contains("no other next hop"), "{told}");
    Ok(())
}

#[test]
fn the_program_prints_what_is_shipped() -> Result<()> {
    let mut program = std::process::Command::new(sortie_testkit::programs::ours("sortie-helper")?);
    ensure!(command::text(program.arg("crds"), "")? == shipped("crds.yaml")?);
    Ok(())
}
