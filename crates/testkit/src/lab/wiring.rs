//! Addresses, routes and switches of the topology.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Result;

use super::{
    CLIENT4, CLIENT6, DEVICES, GATEWAY4, GATEWAY6, NODE4, NODE6, ROUTERS, SERVER4, SERVER6, VIP_NET4, VIP_NET6,
};
use crate::net::Namespace;

/// Switches of the node: it forwards, and it trusts nobody's source address.
const NODE: [(&str, &str); 4] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/default/rp_filter", "1"),
];
/// Switches of routers and server. Their clients' addresses are not announced on links, as those of machines behind a
/// router would not be.
const OTHERS: [(&str, &str); 6] = [
    ("net/ipv4/conf/all/arp_announce", "2"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
];
/// Bridged packets pass the IP hooks, as on a kube node; not on every kernel.
const BRIDGE: [&str; 2] = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

pub(crate) fn node(node: &Namespace) -> Result<()> {
    for (key, value) in NODE {
        node.sysctl(key, value)?;
    }
    for key in BRIDGE.into_iter().filter(|key| Path::new("/proc/sys").join(key).exists()) {
        node.sysctl(key, "1")?;
    }
    Ok(())
}

/// Router number `index` between the node and the server.
pub(super) fn router(index: usize, router: &Namespace, (node, server): (&Namespace, &Namespace)) -> Result<()> {
    let (device, node4, node6) = (DEVICES[index], NODE4[index], NODE6[index]);
    node.wire(device, (router, "node"))?;
    node.ip(&format!("addr add {node4}/24 dev {device}\naddr add {node6}/64 dev {device} nodad"))?;
    if index == 0 {
        node.ip(&format!("route add default via {}\n-6 route add default via {}", GATEWAY4[index], GATEWAY6[index]))?;
    }
    far(index, (GATEWAY4[index], GATEWAY6[index]), (router, server))?;
    router.ip(&format!(
        "route add 10.244.0.0/16 via {node4}\n-6 route add fd00:244::/32 via {node6}\n\
         route add {VIP_NET4} via {node4}\n-6 route add {VIP_NET6} via {node6}"
    ))
}

/// Router number `index`, whose device `node` is there and gets these addresses, and its way to the server and back.
pub(crate) fn far(
    index: usize,
    (own4, own6): (Ipv4Addr, Ipv6Addr),
    (router, server): (&Namespace, &Namespace),
) -> Result<()> {
    for (key, value) in OTHERS {
        router.sysctl(key, value)?;
    }
    router.wire("server", (server, ROUTERS[index]))?;
    let number = index + 1;
    router.ip(&format!(
        "addr add {own4}/24 dev node\naddr add {own6}/64 dev node nodad\n\
         addr add 10.{number}.0.1/24 dev server\naddr add fd01:{number}::1/64 dev server nodad\n\
         addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n\
         route add 192.0.2.0/24 via 10.{number}.0.2\n-6 route add 2001:db8:2::/64 via fd01:{number}::2",
        CLIENT4[index], CLIENT6[index],
    ))?;
    server.ip(&format!(
        "addr add 10.{number}.0.2/24 dev {0}\naddr add fd01:{number}::2/64 dev {0} nodad\n\
         route add default via 10.{number}.0.1 dev {0} metric {number}\n\
         route add default via 10.{number}.0.1 dev {0} table 10{number}\n\
         -6 route add default via fd01:{number}::1 dev {0} metric {number}\n\
         -6 route add default via fd01:{number}::1 dev {0} table 10{number}\n\
         rule add fwmark {number} lookup 10{number}\n-6 rule add fwmark {number} lookup 10{number}",
        ROUTERS[index],
    ))
}

/// The server's own addresses; answers of its kernel, too, go back by the router of the request.
pub(crate) fn server(server: &Namespace) -> Result<()> {
    for (key, value) in OTHERS {
        server.sysctl(key, value)?;
    }
    server.ip(&format!(
        "addr add {SERVER4}/24 dev lo\naddr add {SERVER6}/64 dev lo nodad\n-6 route add local 2001:db8:2::/64 dev lo"
    ))?;
    server.nft(
        r#"table inet back {
            chain in {
                type filter hook prerouting priority -150;
                ct direction original iifname "a" ct mark set 1
                ct direction original iifname "b" ct mark set 2
                ct direction original iifname "c" ct mark set 3
            }
            chain out { type route hook output priority -150; ct mark != 0 meta mark set ct mark; }
        }"#,
    )
}
