//! The Helm chart, written from the manifests in `install/kustomize`.
//!
//! Guarantees: with the chart's own values it holds the same objects, word for word. Leaves out: the namespace, which
//! Helm creates, and OpenShift, which has more objects.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::progress;

/// Where the manifests are, and where the chart goes.
const MANIFESTS: &str = "install/kustomize";
const CHART: &str = "install/helm/sortie";
/// What the version is read from.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is put into every file of the chart's templates.
const EVERYWHERE: &[(&str, &str)] = &[("namespace: sortie-system", "namespace: {{ .Release.Namespace }}")];
/// What is put into the DaemonSet: text of the manifest, text of the template.
const DAEMON_SET: &[(&str, &str)] = &[
    ("image: sortie.dev/sortie:0.1.0", "image: \"{{ .Values.image.repository }}:{{ .Values.image.tag }}\""),
    ("imagePullPolicy: IfNotPresent", "imagePullPolicy: {{ .Values.image.pullPolicy }}"),
    ("path: /etc/cni/net.d", "path: {{ .Values.cni.confDir }}"),
    ("path: /opt/cni/bin", "path: {{ .Values.cni.binDir }}"),
    ("secretName: sortie-peer-key", "secretName: {{ .Values.peerKeySecret }}"),
    (
        "resources:\n          requests:\n            cpu: 50m\n            memory: 64Mi\n",
        "resources:\n          {{- toYaml .Values.resources | nindent 10 }}\n",
    ),
    (
        "- --metrics-addr=$(METRICS_ADDR)\n",
        "- --metrics-addr=$(METRICS_ADDR)\n        {{- if .Values.startupTaint }}\n        \
         - --startup-taint=sortie.dev/not-ready\n        {{- end }}\n",
    ),
];
/// What is put into the policy of the startup taint, whose expressions name an account.
const POLICY: &[(&str, &str)] =
    &[("serviceaccount:sortie-system:sortie-helper", "serviceaccount:{{ .Release.Namespace }}:sortie-helper")];
/// Where the component is that takes the startup taint away.
const TAINT: &str = "install/components/startup-taint";
/// What stands in the manifest of the settings before the settings.
const DATA: &str = "\ndata:\n";

/// `chart`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    for (name, text) in files(root)? {
        let path = root.join(CHART).join(name);
        let folder = path.parent().context("a file of the chart has no folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        progress::line(&format!("  {}", path.display()));
    }
    Ok(())
}

/// Every file of the chart.
fn files(root: &Path) -> Result<BTreeMap<&'static str, String>> {
    let read_in = |folder: &str, name: &str| {
        let path = root.join(folder).join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let read = |name: &str| read_in(MANIFESTS, name);
    let settings = read("settings.yaml")?;
    let (head, data) = settings.split_once(DATA).context("settings.yaml has no data")?;
    let settings = format!("{head}{DATA}  {{{{- toYaml .Values.settings | nindent 2 }}}}\n");
    let rights = replaced(&read_in(TAINT, "rbac.yaml")?, EVERYWHERE)?;
    let policy = replaced(&read_in(TAINT, "policy.yaml")?, POLICY)?;
    let taint = format!("{{{{- if .Values.startupTaint }}}}\n{rights}---\n{policy}{{{{- end }}}}\n");
    Ok(BTreeMap::from([
        ("Chart.yaml", chart()),
        ("values.yaml", values(data)),
        ("crds/crds.yaml", read("crds.yaml")?),
        ("templates/rbac.yaml", replaced(&read("rbac.yaml")?, EVERYWHERE)?),
        ("templates/startup-taint.yaml", taint),
        ("templates/settings.yaml", replaced(&settings, EVERYWHERE)?),
        ("templates/daemonset.yaml", replaced(&replaced(&read("daemonset.yaml")?, EVERYWHERE)?, DAEMON_SET)?),
    ]))
}

fn chart() -> String {
    format!(
        "# Written by `cargo xtask chart`, as everything in this folder.\n\
         apiVersion: v2\nname: sortie\ndescription: Outbound routes for pods\ntype: application\n\
         version: {VERSION}\nappVersion: {VERSION}\nkubeVersion: \">=1.29.0-0\"\n"
    )
}

fn values(settings: &str) -> String {
    format!(
        "image:\n  repository: sortie.dev/sortie\n  tag: {VERSION}\n  pullPolicy: IfNotPresent\n\
         # Where the runtime of the nodes keeps CNI (install/README.md lists distributions).\n\
         cni:\n  confDir: /etc/cni/net.d\n  binDir: /opt/cni/bin\n\
         # Secret with the key `key`, at least 32 bytes, the same for all nodes.\npeerKeySecret: sortie-peer-key\n\
         # Whether helpers take the taint sortie.dev/not-ready from their nodes (install/README.md, New nodes).\n\
         startupTaint: false\n\
         # Of the helper.\nresources:\n  requests:\n    cpu: 50m\n    memory: 64Mi\n\
         # Flags of the helper and settings of the plugin (docs/configuration.md).\nsettings:\n{settings}"
    )
}

/// Every text replaced by its template; one that does not occur is an error.
fn replaced(text: &str, table: &[(&str, &str)]) -> Result<String> {
    table.iter().try_fold(text.to_owned(), |text, (from, to)| {
        if !text.contains(from) {
            bail!("the manifest does not contain {from:?} any more; adapt xtask/src/chart.rs");
        }
        Ok(text.replace(from, to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_in_the_repository_is_the_one_the_manifests_give() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (name, text) in files(root).unwrap() {
            let path = root.join(CHART).join(name);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name}: run `cargo xtask chart`");
        }
    }

    #[test]
    fn a_text_that_is_gone_is_found() {
        assert!(replaced("a: 1", &[("a: 2", "b")]).is_err());
        assert_eq!(replaced("a: 1\na: 1", &[("a: 1", "b")]).unwrap(), "b\nb");
    }
}
