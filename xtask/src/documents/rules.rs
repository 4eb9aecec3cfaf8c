//! The nft rules that a document shows are rules we load.
//!
//! Guarantees: every rule in a block that shows a chain stands in that chain of the recorded table, word for word.
//! Leaves out: rules the document does not show.

/// Statements of a chain that are no rules, as they begin.
const HEADS: [&str; 2] = ["type ", "policy "];

/// Rules in the fenced blocks of `document` that `recorded` (a script for `nft -f`) does not add.
pub(super) fn unknown_rules(document: &str, recorded: &str) -> Vec<String> {
    let blocks = document.split("```").skip(1).step_by(2);
    let shown = blocks.flat_map(rules);
    let unknown = shown.filter(|(chain, rule)| !is_recorded(recorded, chain, rule));
    unknown.map(|(chain, rule)| format!("{chain}: {rule}")).collect()
}

fn is_recorded(recorded: &str, chain: &str, rule: &str) -> bool {
    let whole = ["inet", "netdev"].map(|family| format!("add rule {family} sortie {chain} {rule}"));
    recorded.lines().any(|line| line.split(" comment ").next().is_some_and(|rule| whole.iter().any(|w| w == rule)))
}

/// Each rule with its chain.
fn rules(block: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut chain = String::new();
    for line in block.lines() {
        let mut line = line.split("  #").next().unwrap_or_default().trim();
        if let Some((head, rest)) = line.strip_prefix("chain ").and_then(|head| head.split_once('{')) {
            (chain, line) = (head.trim().to_owned(), rest);
        }
        let line = line.trim();
        let ends = line.matches('}').count() > line.matches('{').count();
        let statements = line.strip_suffix('}').filter(|_| ends).unwrap_or(line).split(';').map(str::trim);
        let statements = statements.filter(|text| !text.is_empty() && *text != "...");
        let rules = statements.filter(|text| !HEADS.iter().any(|head| text.starts_with(head)));
        if !chain.is_empty() {
            found.extend(rules.map(|rule| (chain.clone(), rule.to_owned())));
        }
        if ends {
            chain.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::unknown_rules;

    const RECORDED: &str = "add rule inet sortie pre jump pick comment \"1\"\nadd rule inet sortie e1 accept\n\
                            add rule inet sortie post meta l4proto { tcp, udp } accept\n";

    #[test]
    fn rules_of_one_and_of_several_lines_are_compared() {
        let block = "```\nchain pre {\n  type filter hook prerouting priority -90; policy accept;\n  jump pick   # why\n}\n\
                     chain e1 { accept; ... }\nmap exit { 1 : goto e1 }\n\
                     chain post {\n  meta l4proto { tcp, udp } accept   # all\n}\n```";
        assert_eq!(unknown_rules(block, RECORDED), Vec::<String>::new());
    }

    #[test]
    fn a_rule_of_another_chain_or_text_is_found() {
        let block = "```\nchain pre { accept }\nchain e1 {\n  accept 2\n}\n```";
        assert_eq!(unknown_rules(block, RECORDED), ["pre: accept", "e1: accept 2"]);
    }
}
