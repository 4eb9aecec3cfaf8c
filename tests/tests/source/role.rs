//! The roles that are shipped: the helper works with them (every other test here), and needs all of them.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sortie_testkit::{PodSpec, manifest, until};
use sortie_tests::api::{ACCOUNT, ApiScene, SYSTEM, pod};
use sortie_tests::scene::SOON;

use super::{policy, with_api};

/// Name of both roles.
const NAME: &str = "sortie-helper";

/// Group, resource and verb.
type Permission = (String, String, String);

/// What the helper calls the kinds it watches.
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
fn without_any_one_permission_of_the_roles_the_helper_complains() -> Result<()> {
    with_api(|_, scene| {
        let stage = [policy(), pod("early", "sip", ""), manifest::pool()];
        scene.admin.apply(&manifest::all(&stage))?;
        let roles =
            [scene.admin.get(&["clusterrole", NAME])?, scene.admin.get(&["role", "--namespace", SYSTEM, NAME])?];
        for role in &roles {
            let permissions = permissions(role)?;
            for permission in &permissions {
                grant(&scene, role, permissions.iter().filter(|other| *other != permission))?;
                await_refusal(&scene, permission)?;
                complains(&scene, permission).with_context(|| format!("without {permission:?}"))?;
            }
            grant(&scene, role, permissions.iter())?;
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

fn grant<'a>(scene: &ApiScene<'_>, role: &Value, rest: impl Iterator<Item = &'a Permission>) -> Result<()> {
    let rules: Vec<Value> = rest.map(|(g, r, v)| json!({"apiGroups": [g], "resources": [r], "verbs": [v]})).collect();
    let (name, namespace) = (&role["metadata"]["name"], &role["metadata"]["namespace"]);
    let metadata = json!({"name": name, "namespace": namespace});
    let role = json!({"apiVersion": role["apiVersion"], "kind": role["kind"], "metadata": metadata, "rules": rules});
    scene.admin.apply(&role.to_string())
}

fn await_refusal(scene: &ApiScene<'_>, (group, resource, verb): &Permission) -> Result<()> {
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let what = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let part = format!("--subresource={part}");
    let words = ["auth", "can-i", verb, &what, &part, "--as", ACCOUNT, "--namespace", SYSTEM];
    until(SOON, "the role to be in force", || {
        scene.admin.output(&words).is_ok_and(|said| String::from_utf8_lossy(&said.stdout).starts_with("no"))
    })
}

fn complains(scene: &ApiScene<'_>, (_, resource, verb): &Permission) -> Result<()> {
    let _ = std::fs::remove_file(scene.lab.path("helper.log"));
    let complaint = match (resource.as_str(), KINDS.iter().find(|(name, _)| name == resource)) {
        ("pods", _) if verb == "get" => return refuses_a_pod(scene),
        (_, Some((_, kind))) if verb != "patch" => format!("kind={kind} error="),
        ("leases", _) if verb == "list" || verb == "watch" => "this node has no number yet".to_owned(),
        _ => {
            something_to_write(scene)?;
            match resource.as_str() {
                "services" => "owners of Services cannot be written",
                "events" => "events cannot be written",
                _ => "nothing can be written for the cluster",
            }
            .to_owned()
        }
    };
    let helper = scene.launch()?;
    let said = |line: &str| line.contains(&complaint) && line.contains("forbidden") && line.contains(resource.as_str());
    until(SOON, "a complaint", || helper.log().lines().any(said)).with_context(|| helper.log())
}

/// A Service that has no address and no owner yet, objects without status, one of them refused, and nobody in office.
fn something_to_write(scene: &ApiScene<'_>) -> Result<()> {
    for object in [["egp", "sip"], ["egp", "odd"], ["vippool", "public"], ["sor", "b"], ["service", "web"]] {
        scene.admin.run(&[&["delete", "--ignore-not-found"][..], &object].concat())?;
    }
    let odd = manifest::policy("default", "odd", "podSelector: {}, route: nowhere");
    scene.admin.apply(&manifest::all(&[policy(), odd, manifest::pool(), manifest::route("b")]))?;
    scene.admin.run(&["delete", "--ignore-not-found", "--namespace", SYSTEM, "lease", "sortie-leader"])?;
    scene.admin.apply(&manifest::service("web", "", "{port: 80}"))
}

fn refuses_a_pod(scene: &ApiScene<'_>) -> Result<()> {
    let _helper = scene.helper()?;
    let Err(error) = scene.network()?.pod(PodSpec::new("early")) else { bail!("the pod was found") };
    ensure!(format!("{error:#}").contains("forbidden"), "{error:#}");
    Ok(())
}
