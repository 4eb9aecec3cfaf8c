//! Pods reach each other through a VXLAN of their own.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use sortie_testkit::cluster::{PodNetwork, manifests};
use sortie_testkit::ping;

use super::stage::{AGREE, COUNT, everybody, left, others, pod_address, running_over, streams, vips};

#[test]
fn pods_in_an_overlay_leave_by_the_owner_with_strict_reverse_path_filtering() -> Result<()> {
    let (cluster, capture) = running_over(PodNetwork::Overlay, &manifests(COUNT))?;
    for node in &cluster.nodes {
        // What IPv4 does by itself, as network plugins do it on their own devices.
        node.namespace.nft(
            r#"table ip6 strict { chain pre { type filter hook prerouting priority -300;
               iifname { "pod", "pods" } ip6 saddr != fe80::/10 fib saddr . iif oif missing counter drop; }; }"#,
        )?;
    }
    let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
    let streams = streams(&cluster)?;
    for stream in &streams {
        stream.answered(20, AGREE).with_context(|| cluster.logs())?;
    }
    let expected = vips().map(|vip| (format!("n{owner}o"), vip)).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(left(&capture)?, expected);
    for vip in vips() {
        let to = pod_address(others(owner)[0], vip);
        anyhow::ensure!(ping(&cluster.nodes[owner - 1].pod, to, AGREE)?, "{to} is not reached by the pods' network");
    }
    Ok(())
}
