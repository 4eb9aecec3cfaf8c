//! One node over a kernel in memory.

use super::*;

pub(crate) fn attachment(container: &str, address: &str) -> Attachment {
    Attachment {
        container_id: container.to_owned(),
        interface: "eth0".to_owned(),
        netns: "/var/run/netns/x".to_owned(),
        network: "net".to_owned(),
        pod: None,
        addresses: vec![address.parse().unwrap()],
        annotations: BTreeMap::new(),
        routes: Vec::new(),
    }
}
