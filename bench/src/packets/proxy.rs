//! Rules as a real kube-proxy writes them, without their accounts.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use sortie_testkit::kube::{ApiServer, Proxy, Scope};
use sortie_testkit::{Net, poll};

/// Services of the cluster.
const SERVICES: usize = 20;
/// Endpoints of each of them.
const ENDPOINTS: usize = 2;
/// How long kube-proxy may take.
const WRITTEN: Duration = Duration::from_secs(60);

/// What `iptables-save` prints where a kube-proxy serves twenty Services in mode `iptables`.
///
/// # Errors
/// When a program cannot be built or does not start, or the rules are not there in time.
pub(super) fn rules() -> Result<String> {
    let net = Net::new()?;
    let (place, folder) = (net.namespace("api")?, net.scratch().folder("api")?);
    let api = ApiServer::start(&place, &folder, Scope::Alone)?;
    let kubectl = api.kubectl()?;
    kubectl.apply(&objects())?;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.10.0.11"}]}}).to_string();
    kubectl.run(&["patch", "node", "node1", "--subresource=status", "--type=merge", "--patch", &status])?;
    let proxy = Proxy::Iptables.start(&place, ("node1", &folder), &api)?;
    let complete = || {
        let text = place.run("iptables-save", &[]).ok()?;
        let endpoints = text.lines().filter(|line| line.contains("-j DNAT")).count();
        (endpoints == SERVICES * ENDPOINTS).then_some(text)
    };
    let text = poll(WRITTEN, "kube-proxy's rules", complete).with_context(|| proxy.log())?;
    Ok(without_accounts(&text))
}

/// Accounts (`nfacct`) are objects that these lines do not make. Only rules for what is dropped name one, after
/// everything else that they ask for; no packet of the benchmark gets as far.
fn without_accounts(rules: &str) -> String {
    let line = |line: &str| match line.split_once(" -m nfacct --nfacct-name ") {
        Some((before, after)) => {
            format!("{before} {}\n", after.trim_start().split_once(' ').map_or("", |(_, rest)| rest))
        }
        None => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}

fn objects() -> String {
    let mut text = "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\n".to_owned();
    for service in 0..SERVICES {
        let addresses: Vec<String> =
            (0..ENDPOINTS).map(|n| format!("{{addresses: [10.244.8.{}]}}", 1 + service * ENDPOINTS + n)).collect();
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{service}}}\n\
             spec: {{ports: [{{port: 80, protocol: TCP}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{name: s{service}-1, labels: {{kubernetes.io/service-name: s{service}}}}}\n\
             ports: [{{port: 80, protocol: TCP, name: ''}}]\nendpoints: [{}]\n",
            addresses.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_keeps_all_but_its_account() {
        let rules = "-A A -m conntrack --ctstate INVALID -m nfacct --nfacct-name  x_pkts -j DROP\n-A B -j C\n";
        assert_eq!(without_accounts(rules), "-A A -m conntrack --ctstate INVALID -j DROP\n-A B -j C\n");
    }
}
