//! Manifests for Kubernetes, as its own tools read them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sortie_testkit::command;
use sortie_testkit::programs;
use sortie_testkit::tools::{self, Group};

type Objects = BTreeMap<(String, String), Value>;

fn objects(text: &str) -> Result<Objects> {
    let mut found = Objects::new();
    for document in format!("\n{text}").split("\n---\n") {
        let object: Value = serde_yaml_ng::from_str(document).context("cannot read what was rendered")?;
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if !object.is_null() {
            found.insert((name(&object["kind"]), name(&object["metadata"]["name"])), object);
        }
    }
    Ok(found)
}

fn kustomized(folder: &str) -> Result<Objects> {
    let mut command = Command::new(tools::ensure(Group::Manifests)?.join("kustomize"));
    command.arg("build").arg(programs::workspace().join("install").join(folder));
    objects(&command::text(&mut command, "")?)
}

fn charted(flags: &[&str]) -> Result<Objects> {
    let mut command = Command::new(tools::ensure(Group::Manifests)?.join("helm"));
    command.args(["template", "sortie"]).arg(programs::workspace().join("install/helm/sortie"));
    command.args(["--namespace", "sortie-system", "--include-crds", "--kube-version", "1.34.0"]).args(flags);
    objects(&command::text(&mut command, "")?)
}

/// Where a DaemonSet looks for configuration and plugins.
fn directories(objects: &Objects, name: &str) -> Vec<String> {
    let set = &objects[&("DaemonSet".to_owned(), name.to_owned())];
    let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let cni = volumes.iter().filter(|volume| volume["name"].as_str().is_some_and(|name| name.starts_with("cni-")));
    cni.filter_map(|volume| volume["hostPath"]["path"].as_str().map(str::to_owned)).collect()
}

#[test]
fn the_chart_and_the_manifests_are_the_same_objects() -> Result<()> {
    let mut wanted = kustomized("")?;
    wanted.remove(&("Namespace".to_owned(), "sortie-system".to_owned())).context("no namespace")?;
    let charted = charted(&[])?;
    assert_eq!(charted.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, object) in wanted {
        ensure!(charted[&key] == object, "{key:?} differs");
    }
    Ok(())
}

#[test]
fn the_chart_takes_startup_taints_away_as_the_component_does() -> Result<()> {
    let folder = tempfile::tempdir().context("no folder")?;
    let install = programs::workspace().join("install").canonicalize().context("no manifests")?;
    // kustomize takes folders by relative paths only.
    std::os::unix::fs::symlink(&install, folder.path().join("install")).context("cannot link")?;
    let text = "resources: [install]\ncomponents: [install/components/startup-taint]\n";
    std::fs::write(folder.path().join("kustomization.yaml"), text).context("cannot write")?;
    let mut command = Command::new(tools::ensure(Group::Manifests)?.join("kustomize"));
    let mut wanted = objects(&command::text(command.arg("build").arg(folder.path()), "")?)?;
    wanted.remove(&("Namespace".to_owned(), "sortie-system".to_owned())).context("no namespace")?;
    let charted = charted(&["--set", "startupTaint=true"])?;
    assert_eq!(charted.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, object) in wanted {
        ensure!(charted[&key] == object, "{key:?} differs: {:#}\n{object:#}", charted[&key]);
    }
    Ok(())
}

#[test]
fn values_of_the_chart_reach_the_objects() -> Result<()> {
    let flags = ["--set", "image.tag=next,cni.confDir=/c,cni.binDir=/b,settings.LOG_LEVEL=debug,peerKeySecret=mine"];
    let objects = charted(&flags)?;
    assert_eq!(directories(&objects, "sortie"), ["/c", "/b"]);
    let text = serde_json::to_string(&objects.values().collect::<Vec<_>>())?;
    for wanted in ["sortie.dev/sortie:next", "\"LOG_LEVEL\":\"debug\"", "\"secretName\":\"mine\""] {
        ensure!(text.contains(wanted), "{wanted} is not in {text}");
    }
    Ok(())
}

#[test]
fn each_distribution_has_the_same_directories_for_both_ways() -> Result<()> {
    let readme = std::fs::read_to_string(programs::workspace().join("install/README.md"))?;
    for folder in ["", "k3s", "microk8s", "openshift"] {
        let there = directories(&kustomized(folder)?, "sortie");
        let back = directories(&kustomized(&format!("uninstall/{folder}"))?, "sortie-uninstall");
        assert_eq!(there, back, "{folder}");
        for directory in there {
            ensure!(
                Path::new(&directory).is_absolute() && readme.contains(&directory),
                "{directory} is not documented"
            );
        }
    }
    Ok(())
}
