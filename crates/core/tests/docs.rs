//! `docs/configuration.md` says what the code says.

use sortie_core::ids;
use sortie_core::model::Reason;

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");
const IDS: &str = include_str!("../src/ids.rs");
const CODES: &str = include_str!("../src/cni/error.rs");

/// Every constant of `ids.rs` as the document writes it.
fn numbers() -> Vec<(&'static str, String)> {
    let range = |(first, last): (u32, u32)| format!("{first}-{last}");
    vec![
        ("PROTOCOL", ids::PROTOCOL.to_string()),
        ("PRIORITY_MAIN", ids::PRIORITY_MAIN.to_string()),
        ("PRIORITY_POD_EXIT", ids::PRIORITY_POD_EXIT.to_string()),
        ("PRIORITY_POD_NONE", ids::PRIORITY_POD_NONE.to_string()),
        ("PRIORITY_TUNNEL_EXIT", ids::PRIORITY_TUNNEL_EXIT.to_string()),
        ("PRIORITY_RETURN", ids::PRIORITY_RETURN.to_string()),
        ("PRIORITY_EXIT", ids::PRIORITY_EXIT.to_string()),
        ("PRIORITY_RANGE", range(ids::PRIORITY_RANGE)),
        ("TABLE_RANGE", range(ids::TABLE_RANGE)),
        ("TABLE_TUNNEL", ids::TABLE_TUNNEL.to_string()),
        ("TABLE_RETURN", ids::TABLE_RETURN.to_string()),
        ("TABLE_NONE", ids::TABLE_NONE.to_string()),
        ("TABLE_RESERVED", range(ids::TABLE_RESERVED)),
        ("TABLE_MAIN", ids::TABLE_MAIN.to_string()),
        ("EXIT_ROUTE_MAX", format!("1 to {}", ids::EXIT_ROUTE_MAX)),
        ("EXIT_TUNNEL", ids::EXIT_TUNNEL.to_string()),
        ("EXIT_ADDRESS", ids::EXIT_ADDRESS.to_string()),
        ("EXIT_MAIN", ids::EXIT_MAIN.to_string()),
        ("EXIT_NONE", ids::EXIT_NONE.to_string()),
        ("PACKET_MARK", format!("{:#010x}", ids::PACKET_MARK)),
        ("RETURN_MARK", format!("{:#010x}", ids::RETURN_MARK)),
        ("NODE_MARK", format!("{:#010x}", ids::NODE_MARK)),
        ("TUNNEL_DEVICE", ids::TUNNEL_DEVICE.to_owned()),
        ("TUNNEL_VNI", ids::TUNNEL_VNI.to_string()),
        ("TUNNEL_PORT", ids::TUNNEL_PORT.to_string()),
        ("TUNNEL_GATEWAY4", ids::TUNNEL_GATEWAY4.to_string()),
        ("TUNNEL_GATEWAY6", ids::TUNNEL_GATEWAY6.to_string()),
        ("TUNNEL_GATEWAY_MAC", octets(&ids::TUNNEL_GATEWAY_MAC)),
        ("TUNNEL_MAC", octets(&ids::TUNNEL_MAC)),
        ("FRAME_SOURCE", octets(&ids::FRAME_SOURCE)),
        ("CT_MARK", format!("{:#010x}", ids::CT_MARK)),
        ("NFT_TABLE", format!("inet {}", ids::NFT_TABLE)),
        ("METRIC_LAST", ids::METRIC_LAST.to_string()),
        ("METRIC_PROBE", ids::METRIC_PROBE.to_string()),
        ("RULES_MAX", ids::RULES_MAX.to_string()),
        ("PEER_PORT", ids::PEER_PORT.to_string()),
        ("SOCKET", ids::SOCKET.to_owned()),
        ("STATE_DIR", ids::STATE_DIR.to_owned()),
        ("DATA_DIR", ids::DATA_DIR.to_owned()),
    ]
}

fn octets(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Names and values of the public constants in a source text.
fn constants(source: &str) -> Vec<(&str, &str)> {
    let declared = source.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    let parts = declared.filter_map(|line| Some((line.split_once(':')?.0, line.split_once('=')?.1)));
    parts.map(|(name, value)| (name, value.trim().trim_end_matches(';'))).collect()
}

/// Whether some cell of some table of the document is, or begins with, `text` as a whole word.
fn is_in_a_cell(text: &str) -> bool {
    let cells = DOCUMENT.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('|'));
    cells.map(|cell| cell.trim().trim_start_matches('`')).any(|cell| {
        cell.strip_prefix(text).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-'))
    })
}

#[test]
fn every_number_of_ids_stands_in_a_table() {
    for (name, written) in numbers() {
        assert!(is_in_a_cell(&written), "{name} = {written} is not in docs/configuration.md");
    }
}

#[test]
fn no_constant_of_ids_is_left_out_of_this_test() {
    let mut declared: Vec<_> = constants(IDS).into_iter().map(|(name, _)| name).collect();
    let mut listed: Vec<_> = numbers().into_iter().map(|(name, _)| name).collect();
    declared.sort_unstable();
    listed.sort_unstable();
    assert_eq!(declared, listed);
}

#[test]
fn every_error_code_has_a_row_and_every_row_a_code() {
    let codes: Vec<_> = constants(CODES).into_iter().map(|(_, value)| value).collect();
    let section = DOCUMENT.split("## Error codes of the plugin").nth(1).unwrap().split("## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let rows: Vec<_> = rows.filter(|cell| cell.parse::<u32>().is_ok()).collect();
    assert_eq!(rows, codes);
}

#[test]
fn every_reason_has_a_row() {
    use Reason as R;
    let reasons = [
        R::Accepted,
        R::RouteNotFound,
        R::NamespaceNotAllowed,
        R::ServiceNotFound,
        R::ServiceDoesNotSelectPod,
        R::NoAddress,
        R::AddressNotAllowed,
        R::Conflicted,
        R::Invalid,
        R::DeviceMissing,
        R::NextHopUnreachable,
        R::NoExitNode,
        R::Programmed,
    ];
    for reason in reasons {
        assert!(is_in_a_cell(&format!("{reason:?}`")), "{reason:?} is not in docs/configuration.md");
    }
}
