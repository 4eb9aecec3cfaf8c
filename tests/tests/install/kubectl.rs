//! `kubectl sortie` finds the helper of the right node and runs the right command there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sortie_testkit::scratch::Scratch;
use sortie_testkit::{command, programs};

/// A kubectl that knows two nodes with a pod of ours each, pods `core/sip` on n2 and `core/late` on none, and writes
/// down what it is to run.
const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
*"get pods"*spec.nodeName=n1*) echo sortie-aaa ;;
*"get pods"*spec.nodeName=n2*) echo sortie-bbb ;;
*"get pods"*spec.nodeName=*) ;;
*"get pods"*) printf 'n1\nn2\n' ;;
*"get configmap"*) printf -- '--table-range=20000-20099 --packet-mark=0x3f --ct-mark=' ;;
*"-n core get pod sip "*) printf n2 ;;
*"-n core get pod late "*) ;;
*"get pod "*) echo 'Error from server (NotFound): pods not found' >&2; exit 1 ;;
*"exec sortie-bbb -c helper -- /sortie-helper doctor"*) echo 'ERROR x'; exit 1 ;;
*exec*) echo "said by $*" ;;
*) exit 9 ;;
esac
"#;

struct Stage {
    scratch: Scratch,
}

impl Stage {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let program = scratch.path().join("kubectl");
        fs::write(&program, KUBECTL)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(Self { scratch })
    }

    /// Status, standard output and error text.
    fn run(&self, line: &str) -> Result<(Option<i32>, String, String)> {
        let mut plugin = Command::new(programs::workspace().join("install/kubectl-sortie"));
        let path = format!("{}:{}", self.scratch.path().display(), std::env::var("PATH").unwrap_or_default());
        plugin.args(line.split_whitespace()).env("PATH", path).env("CALLS", self.scratch.path().join("calls"));
        let output = command::output(&mut plugin, "")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    }

    fn calls(&self) -> Result<Vec<String>> {
        let path = self.scratch.path().join("calls");
        let calls = fs::read_to_string(&path).context("no calls")?;
        fs::remove_file(path)?;
        Ok(calls.lines().map(str::to_owned).collect())
    }
}

#[test]
fn status_asks_every_node_or_those_named() -> Result<()> {
    let stage = Stage::new()?;
    let (status, said, _) = stage.run("status")?;
    assert_eq!(status, Some(0));
    for (node, pod) in [("n1", "sortie-aaa"), ("n2", "sortie-bbb")] {
        ensure!(
            said.contains(&format!(
                "== node {node}\nsaid by -n sortie-system exec {pod} -c helper -- /sortie-helper status -o text"
            )),
            "{said}"
        );
    }
    let (_, said, _) = stage.run("--context lab status n2 -o json")?;
    assert_eq!(
        said,
        "said by --context=lab -n sortie-system exec sortie-bbb -c helper -- /sortie-helper status -o json\n"
    );
    let (status, _, error) = stage.run("status n9")?;
    ensure!(status == Some(1) && error.contains("on node n9"), "{error}");
    Ok(())
}

#[test]
fn explain_asks_the_node_where_the_pod_runs() -> Result<()> {
    let stage = Stage::new()?;
    let flow = "--protocol udp --destination [2001:db8::1]:53 -o json";
    for words in [format!("--pod core/sip {flow}"), format!("{flow} --pod=core/sip")] {
        let (status, said, _) = stage.run(&format!("--system-namespace other explain {words}"))?;
        assert_eq!(
            (status, said),
            (Some(0), format!("said by -n other exec sortie-bbb -c helper -- /sortie-helper explain {words}\n"))
        );
    }
    stage.calls()?;
    for (line, status, word) in [
        ("explain --protocol udp", 2, "--pod"),
        ("explain --pod core/late --protocol udp", 1, "on no node yet"),
        ("explain --pod core/gone --protocol udp", 1, "NotFound"),
        ("dance", 2, "status, explain or doctor"),
        ("status -o", 2, "needs a value"),
        ("status -o xml", 2, "text or json"),
        ("doctor --fast", 2, "--fast"),
    ] {
        let (code, _, error) = stage.run(line)?;
        ensure!(code == Some(status) && error.contains(word), "{line}: {code:?} {error}");
    }
    ensure!(!stage.calls()?.iter().any(|call| call.contains("exec")), "something was run");
    Ok(())
}

#[test]
fn doctor_has_the_helpers_numbers_looks_at_the_entry_and_tells_the_worst() -> Result<()> {
    let stage = Stage::new()?;
    let (status, said, _) = stage.run("doctor n1")?;
    assert_eq!(status, Some(0));
    ensure!(said.contains("doctor -o text --table-range=20000-20099 --packet-mark=0x3f\n"), "{said}");
    ensure!(said.contains("plugin and entry are in place"), "{said}");
    ensure!(stage.calls()?.iter().any(|call| call.contains("-c install -- /sortie-helper install --check")));
    assert_eq!(stage.run("doctor")?.0, Some(1), "n2 has an error");
    let (status, said, _) = stage.run("--help")?;
    ensure!(status == Some(0) && said.contains("kubectl sortie explain"), "{said}");
    Ok(())
}
