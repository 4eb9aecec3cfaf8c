//! Custom resource definitions as text.
//!
//! Guarantees: `install/kustomize/crds.yaml` is what this says.

use kube::CustomResourceExt as _;
use serde_json::Value;

use super::types::{AddressPool, EgressPolicy, ServiceOutboundRoute};

/// The definitions as YAML documents.
pub(crate) fn text() -> anyhow::Result<String> {
    let mut text = String::new();
    for crd in [ServiceOutboundRoute::crd(), EgressPolicy::crd(), AddressPool::crd()] {
        let mut json = serde_json::to_value(crd)?;
        simplify(&mut json);
        text.push_str("---\n");
        text.push_str(&serde_yaml_ng::to_string(&json)?);
    }
    Ok(text)
}

/// Without `nullable`, null is absent, as in a manifest; formats of unsigned numbers are unknown to the API server.
fn simplify(json: &mut Value) {
    match json {
        Value::Array(list) => list.iter_mut().for_each(simplify),
        Value::Object(map) => {
            map.retain(|key, value| {
                let is_unsigned = key == "format" && value.as_str().is_some_and(|f| f.starts_with("uint"));
                !is_unsigned && (key != "nullable" || !value.is_boolean())
            });
            map.values_mut().for_each(simplify);
        }
        Value::Number(number) => {
            // Bounds are floating point in the definition's type.
            let whole = number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0);
            if let Some(whole) = whole.and_then(|n| format!("{n}").parse::<i64>().ok()) {
                *json = whole.into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definitions_to_install_are_those_of_this_program() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../install/kustomize/crds.yaml");
        let (want, got) = (std::fs::read_to_string(file).unwrap_or_default(), super::text().unwrap());
        if want != got && std::env::var_os("SORTIE_BLESS").is_some() {
            std::fs::write(file, &got).unwrap();
            return;
        }
        assert_eq!(want, got, "SORTIE_BLESS=1 cargo test -p sortie-helper crds records the new text");
    }
}
