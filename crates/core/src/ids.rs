//! Every number and name Sortie claims on a node.
//!
//! Guarantees: no other module of the product contains such a number; `docs/configuration.md` is
//! checked against this file. Leaves out: the numbers a user may choose, whose defaults stand here
//! and whose values travel in [`Numbers`].

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Routing protocol of our rules and routes (`rtnetlink(7)`, `RTPROT_*`; 155 is unassigned).
pub const PROTOCOL: u8 = 155;

/// `fwmark <main>/<mask> lookup main`: flows of a selected pod that stay on the main table.
pub const PRIORITY_MAIN: u32 = 1290;
/// `from <pod> [selector] fwmark <exit>/<mask> lookup <table of the exit>`.
pub const PRIORITY_POD_EXIT: u32 = 1300;
/// `from <pod> [selector] lookup <table of "none">`: what is selected but carries no mark is dropped.
pub const PRIORITY_POD_NONE: u32 = 1310;
/// `iif sor0 fwmark <exit>/<mask> lookup <table of the exit>`: what comes out of the tunnel leaves here.
pub const PRIORITY_TUNNEL_EXIT: u32 = 1397;
/// `fwmark <return>/<return> lookup <table of the way back>`: answers for pods of other nodes.
pub const PRIORITY_RETURN: u32 = 1398;
/// `fwmark <exit>/<mask> lookup <table of the exit>`.
pub const PRIORITY_EXIT: u32 = 1399;
/// Our rules have a priority in this inclusive range.
pub const PRIORITY_RANGE: (u32, u32) = (1290, 1399);

/// Default table range of routes, inclusive.
pub const TABLE_RANGE: (u32, u32) = (10_000, 10_999);
/// Table of the exit "tunnel": throws for the cluster, default into the tunnel.
pub const TABLE_TUNNEL: u32 = 11_060;
/// Table of the way back into the tunnel.
pub const TABLE_RETURN: u32 = 11_064;
/// Table of the exit "none": throws for the cluster, `unreachable` default.
pub const TABLE_NONE: u32 = 11_063;
/// Tables that Sortie keeps for itself, inclusive.
pub const TABLE_RESERVED: (u32, u32) = (11_000, 11_099);
/// The kernel's main table (`RT_TABLE_MAIN`).
pub const TABLE_MAIN: u32 = 254;

/// Largest exit number of a route; one path per exit mark value.
pub const EXIT_ROUTE_MAX: u8 = 59;
/// Exit of flows that leave by another node.
pub const EXIT_TUNNEL: u8 = 60;
/// Exit of flows that leave by the main table with the address of a Service.
pub const EXIT_ADDRESS: u8 = 61;
/// Exit of flows that stay on the main table.
pub const EXIT_MAIN: u8 = 62;
/// Exit of flows that must not leave.
pub const EXIT_NONE: u8 = 63;

/// Default bits of the packet mark that hold the exit. Higher bits are taken: 0x0f00 by Cilium, 0x2000 by the
/// reference portmap plugin, 0x4000 and 0x8000 by kube-proxy, 0xffff0000 by Calico.
pub const PACKET_MARK: u32 = 0x0000_003f;
/// Default bit of the packet mark that leads answers back into the tunnel.
pub const RETURN_MARK: u32 = 0x0000_0040;
/// Default bits of the connection mark that hold the path.
pub const CT_MARK: u32 = 0x000f_ff00;
/// Default bits of the connection mark that hold the node a flow came from by the tunnel; 0 = this one.
pub const NODE_MARK: u32 = 0x3ff0_0000;

/// Device of the tunnel.
pub const TUNNEL_DEVICE: &str = "sor0";
/// Default network identifier of the tunnel (RFC 7348 section 5).
pub const TUNNEL_VNI: u32 = 7342;
/// Default UDP port of the tunnel (unassigned at IANA; 4789 is other people's VXLAN).
pub const TUNNEL_PORT: u16 = 4797;
/// Gateway of every route into the tunnel; no node has it.
pub const TUNNEL_GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 73, 254);
/// The same in IPv6.
pub const TUNNEL_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x73, 0xfe);
/// Link address of that gateway; the table of frames replaces it by a node's.
pub const TUNNEL_GATEWAY_MAC: [u8; 6] = [0x02, 0x53, 0, 0, 0, 0];
/// First four bytes of a node's link address in the tunnel; the last two are its number.
pub const TUNNEL_MAC: [u8; 4] = [0x02, 0x53, 0x4f, 0x52];
/// First two bytes of the source of a frame to an exit; the other four are the connection mark it is to get there,
/// little endian.
pub const FRAME_SOURCE: [u8; 2] = [0x02, 0x53];

/// nftables table, families `inet` and `netdev`.
pub const NFT_TABLE: &str = "sortie";
/// Metric of the `unreachable` default that ends every exit table.
pub const METRIC_LAST: u32 = u32::MAX;
/// Metric of the first next hop's route to a health target; above the default metric of IPv6, 1024.
pub const METRIC_PROBE: u32 = 2000;
/// Default per-node limit of per-pod rules per family under `--steering auto`.
pub const RULES_MAX: usize = 16;

/// Default port of the helpers among each other, UDP and TCP (unassigned at IANA).
pub const PEER_PORT: u16 = 7343;

/// Default path of the helper's socket.
pub const SOCKET: &str = "/run/sortie/helper.sock";
/// Default state directory (lost at reboot, as the kernel state is).
pub const STATE_DIR: &str = "/run/sortie";
/// Default data directory (survives a reboot).
pub const DATA_DIR: &str = "/var/lib/sortie";

/// The numbers a user may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Contiguous bits of the packet mark for the exit; at least six.
    pub packet_mark: Mask,
    /// Contiguous bits of the connection mark for the path; at least twelve.
    pub ct_mark: Mask,
    /// One bit of the packet mark beside them for the way back into the tunnel.
    pub return_mark: Mask,
    /// Contiguous bits of the connection mark for a node's number; as many as the largest number needs.
    pub node_mark: Mask,
    /// The tunnel's network identifier, 24 bits.
    pub vni: u32,
    /// The tunnel's UDP port.
    pub tunnel_port: u16,
    /// Inclusive range from which tables of routes are allocated.
    pub tables: (u32, u32),
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            packet_mark: Mask(PACKET_MARK),
            ct_mark: Mask(CT_MARK),
            return_mark: Mask(RETURN_MARK),
            node_mark: Mask(NODE_MARK),
            vni: TUNNEL_VNI,
            tunnel_port: TUNNEL_PORT,
            tables: TABLE_RANGE,
        }
    }
}

/// A contiguous bit field of a 32-bit mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mask(pub u32);

impl Mask {
    /// The field's value `n` at its place in the mark.
    #[must_use]
    pub fn place(self, n: u32) -> u32 {
        (n << self.0.trailing_zeros()) & self.0
    }
    /// What the field holds in `mark`.
    #[must_use]
    pub fn read(self, mark: u32) -> u32 {
        (mark & self.0) >> self.0.trailing_zeros()
    }
    /// All bits outside the field.
    #[must_use]
    pub fn others(self) -> u32 {
        !self.0
    }
}
