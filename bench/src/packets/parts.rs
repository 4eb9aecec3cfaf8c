//! Taking away parts of what the product wrote, while its helper rests.

use anyhow::Result;
use serde_json::Value;
use sortie_testkit::Namespace;

use super::site::Site;
use super::subject::Part;

impl Part {
    /// Takes away the others.
    ///
    /// # Errors
    /// When a program fails.
    pub(super) fn leave(self, site: &Site) -> Result<()> {
        let node = &site.node;
        match self {
            Self::Rules => node.nft("delete table inet sortie"),
            Self::RulesAndHooks => empty(node),
            Self::WithoutPre => without(node, "prerouting"),
            Self::WithoutPost => without(node, "nat"),
            Self::WithoutGuard => without(node, "postrouting"),
        }
    }
}

/// Name, type and hook of every base chain of ours.
fn base_chains(node: &Namespace) -> Result<Vec<[String; 3]>> {
    let text = node.run("nft", &["-j", "list", "chains", "inet"])?;
    let all: Value = serde_json::from_str(&text)?;
    let chains = all["nftables"].as_array().into_iter().flatten().map(|object| &object["chain"]);
    let ours = chains.filter(|chain| chain["table"] == "sortie" && chain["hook"].is_string());
    let word = |chain: &Value, key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    Ok(ours.map(|chain| ["name", "type", "hook"].map(|key| word(chain, key))).collect())
}

fn empty(node: &Namespace) -> Result<()> {
    let lines: Vec<String> =
        base_chains(node)?.into_iter().map(|[name, ..]| format!("flush chain inet sortie {name}")).collect();
    node.nft(&lines.join("\n"))
}

/// Base chains of this type, or of type filter at this hook, are no more.
fn without(node: &Namespace, which: &str) -> Result<()> {
    let is_meant = |kind: &str, hook: &str| kind == which || (kind == "filter" && hook == which);
    for [name, kind, hook] in base_chains(node)? {
        if is_meant(&kind, &hook) {
            node.nft(&format!("flush chain inet sortie {name}\ndelete chain inet sortie {name}"))?;
        }
    }
    Ok(())
}
