//! The environment variables of a CNI command.

use crate::model::PodReference;

use super::error::Problem;

/// Longest name of a device in bytes (`IFNAMSIZ` less its terminator).
const INTERFACE_MAX: usize = 15;

/// `CNI_CONTAINERID` and `CNI_IFNAME`: which attachment a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub interface: String,
}

pub(super) fn target(variable: &impl Fn(&str) -> Option<String>) -> Result<Target, Problem> {
    let container_id = required(variable, "CNI_CONTAINERID")?;
    if !is_identifier(&container_id) {
        return Err(Problem::environment("CNI_CONTAINERID", "must match ^[a-zA-Z0-9][a-zA-Z0-9_.\\-]*$"));
    }
    let interface = required(variable, "CNI_IFNAME")?;
    if !is_interface(&interface) {
        let rule = "must be 1 to 15 bytes without '/', ':' and blanks, and neither . nor ..";
        return Err(Problem::environment("CNI_IFNAME", rule));
    }
    Ok(Target { container_id, interface })
}

/// The value of a variable that must be there and not empty.
pub(super) fn required(variable: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<String, Problem> {
    variable(name).filter(|v| !v.is_empty()).ok_or_else(|| Problem::environment(name, "is not set"))
}

/// The rule for container ids and network names.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_interface(name: &str) -> bool {
    let is_strange = |c: char| "/:\u{fffd}".contains(c) || c.is_whitespace() || c.is_control();
    (1..=INTERFACE_MAX).contains(&name.len()) && name != "." && name != ".." && !name.contains(is_strange)
}

/// The pod in `K=V;K=V`; `None` when the runtime names none.
pub(super) fn pod(arguments: &str) -> Result<Option<PodReference>, Problem> {
    let mut pod = PodReference { namespace: String::new(), name: String::new(), uid: String::new() };
    for pair in arguments.split(';').filter(|pair| !pair.is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| Problem::environment("CNI_ARGS", format!("holds {pair:?}, not K=V")))?;
        match key {
            "K8S_POD_NAMESPACE" => value.clone_into(&mut pod.namespace),
            "K8S_POD_NAME" => value.clone_into(&mut pod.name),
            "K8S_POD_UID" => value.clone_into(&mut pod.uid),
            _ => {}
        }
    }
    Ok((!pod.namespace.is_empty() && !pod.name.is_empty()).then_some(pod))
}
