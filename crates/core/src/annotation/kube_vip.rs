//! kube-vip's annotations of Services as ours.
//!
//! Guarantees: what is said in ours stays as it is; a value is taken over as it stands, so that one we cannot read is
//! refused under our key. Leaves out: kube-vip's annotations for which we have none (`kube-vip.io/egress-internal`,
//! `flush-conntrack` and others): they are not needed or mean its own machinery.

use std::collections::BTreeMap;

use super::PREFIX;

/// Prefix of kube-vip's annotations.
const THEIRS: &str = "kube-vip.io/";
/// Theirs and ours, where the values mean the same.
const SAME: [(&str, &str); 7] = [
    ("egress", "egress"),
    ("egress-source-ports", "egress-source-ports"),
    ("egress-destination-ports", "egress-destination-ports"),
    ("egress-allowed-networks", "egress-destinations"),
    ("egress-denied-networks", "egress-except-destinations"),
    ("loadbalancerIPs", "addresses"),
    ("serviceInterface", "interfaces"),
];
/// Says that egress is of version 6 and not of version 4.
const IPV6: &str = "egress-ipv6";

/// Adds ours to the annotations of a Service that has kube-vip's.
pub fn translate(annotations: &mut BTreeMap<String, String>) {
    let theirs = |key: &str| annotations.get(&format!("{THEIRS}{key}")).map(|value| value.trim().to_owned());
    let mut found: Vec<(&str, String)> = SAME
        .iter()
        .filter_map(|(key, ours)| Some((*ours, theirs(key)?)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    if theirs(IPV6).as_deref() == Some("true") {
        found.push(("egress-families", "ipv6".to_owned()));
    }
    for (ours, value) in found {
        annotations.entry(format!("{PREFIX}{ours}")).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(given: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut annotations = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        translate(&mut annotations);
        annotations.into_iter().filter(|(key, _)| key.starts_with(PREFIX)).collect()
    }

    #[test]
    fn each_annotation_has_its_synonym() {
        let table = [
            ("kube-vip.io/egress", "true", "sortie.dev/egress", "true"),
            ("kube-vip.io/egress-ipv6", "true", "sortie.dev/egress-families", "ipv6"),
            ("kube-vip.io/egress-source-ports", "udp:5060", "sortie.dev/egress-source-ports", "udp:5060"),
            (
                "kube-vip.io/egress-destination-ports",
                "tcp:1,udp:2",
                "sortie.dev/egress-destination-ports",
                "tcp:1,udp:2",
            ),
            ("kube-vip.io/egress-allowed-networks", "10.0.0.0/8", "sortie.dev/egress-destinations", "10.0.0.0/8"),
            (
                "kube-vip.io/egress-denied-networks",
                "10.1.0.0/16",
                "sortie.dev/egress-except-destinations",
                "10.1.0.0/16",
            ),
            ("kube-vip.io/loadbalancerIPs", "192.0.2.1,2001:db8::1", "sortie.dev/addresses", "192.0.2.1,2001:db8::1"),
            ("kube-vip.io/serviceInterface", " eth1 ", "sortie.dev/interfaces", "eth1"),
        ];
        for (theirs, value, ours, meaning) in table {
            assert_eq!(translated(&[(theirs, value)]), [(ours.to_owned(), meaning.to_owned())], "{theirs}");
        }
    }

    #[test]
    fn what_ours_say_stays() {
        let both = [("kube-vip.io/egress", "true"), ("sortie.dev/egress", "false")];
        assert_eq!(translated(&both), [("sortie.dev/egress".to_owned(), "false".to_owned())]);
    }

    #[test]
    fn what_has_no_synonym_says_nothing() {
        let others =
            [("kube-vip.io/egress-ipv6", "false"), ("kube-vip.io/vipHost", "n1"), ("kube-vip.io/loadbalancerIPs", "")];
        assert_eq!(translated(&others), []);
    }
}
