//! The role that is shipped: the helper works with it (every other test here), and needs all of it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sortie_testkit::{PodSpec, until};
use sortie_tests::api::{ACCOUNT, ApiScene, pod};
use sortie_tests::scene::SOON;

use super::{policy, with_api};

/// One permission, and the kind for which the helper complains without it.
type Permission = (String, String, String);

/// What the helper says in its log.
const KINDS: [(&str, &str); 8] = [
    ("pods", "Pod"),
    ("nodes", "Node"),
    ("namespaces", "Namespace"),
    ("services", "Service"),
    ("servicecidrs", "ServiceCidr"),
    ("serviceoutboundroutes", "ServiceOutboundRoute"),
    ("egresspolicies", "EgressPolicy"),
    ("addresspools", "AddressPool"),
];

#[test]
fn without_any_one_permission_of_the_role_the_helper_complains() -> Result<()> {
    with_api(|_, scene| {
        scene.admin.apply(&sortie_testkit::manifest::all(&[policy(), pod("early", "sip", "")]))?;
        let role = scene.admin.get(&["clusterrole", "sortie-helper"])?;
        let permissions = permissions(&role)?;
        ensure!(permissions.len() == 17, "{permissions:?}");
        for permission in &permissions {
            grant(&scene, &role, &permissions, permission)?;
            complains(&scene, permission).with_context(|| format!("without {permission:?}"))?;
        }
        Ok(())
    })
}

fn permissions(role: &Value) -> Result<Vec<Permission>> {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut found = Vec::new();
    for rule in role["rules"].as_array().context("a role without rules")? {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                found.extend(words(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    Ok(found)
}

/// Gives the helper every permission but one.
fn grant(scene: &ApiScene<'_>, role: &Value, all: &[Permission], but: &Permission) -> Result<()> {
    let rest = all.iter().filter(|permission| *permission != but);
    let rules: Vec<Value> = rest.map(|(g, r, v)| json!({"apiGroups": [g], "resources": [r], "verbs": [v]})).collect();
    let name = &role["metadata"]["name"];
    let role =
        json!({"apiVersion": role["apiVersion"], "kind": role["kind"], "metadata": {"name": name}, "rules": rules});
    scene.admin.apply(&role.to_string())?;
    let (group, resource, verb) = but;
    let what = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
    let words = ["auth", "can-i", verb, &what, "--as", ACCOUNT, "--all-namespaces"];
    until(SOON, "the role to be in force", || {
        scene.admin.output(&words).is_ok_and(|said| String::from_utf8_lossy(&said.stdout).starts_with("no"))
    })
}

fn complains(scene: &ApiScene<'_>, (_, resource, verb): &Permission) -> Result<()> {
    let _ = std::fs::remove_file(scene.lab.path("helper.log"));
    if verb == "get" {
        let _helper = scene.helper()?;
        let Err(error) = scene.network()?.pod(PodSpec::new("early")) else { bail!("the pod was found") };
        ensure!(format!("{error:#}").contains("forbidden"), "{error:#}");
        return Ok(());
    }
    let (_, kind) = KINDS.iter().find(|(name, _)| name == resource).context("a resource that is not watched")?;
    let helper = scene.launch()?;
    let complaint = format!("kind={kind} error=");
    let said = |line: &str| line.contains(&complaint) && line.contains("forbidden");
    until(SOON, "a complaint", || helper.log().lines().any(said)).with_context(|| helper.log())
}
