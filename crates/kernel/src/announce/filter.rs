//! What wakes us: classic BPF for packet sockets.
//!
//! Guarantees: lets through ARP for IPv4, and neighbour solicitations and advertisements without extension headers.
//! Leaves out: whether they are valid.

use socket2::SockFilter;

/// `BPF_LD | BPF_B | BPF_ABS`, `BPF_LD | BPF_H | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Longest piece of a frame we want, in bytes.
const SNAP: u32 = 2048;

/// On a socket for ARP: protocol type IPv4.
pub(super) fn arp() -> Vec<SockFilter> {
    vec![load(LOAD_HALF, 16), unless(0x0800, 1), give(SNAP), give(0)]
}

/// On a socket for IPv6: ICMPv6 of types 135 and 136.
pub(super) fn discovery() -> Vec<SockFilter> {
    vec![
        load(LOAD_BYTE, 20),
        unless(58, 4),
        load(LOAD_BYTE, 54),
        SockFilter::new(JUMP_EQUAL, 1, 0, 135),
        unless(136, 1),
        give(SNAP),
        give(0),
    ]
}

fn load(what: u16, offset: u32) -> SockFilter {
    SockFilter::new(what, 0, 0, offset)
}

/// Skips so many instructions unless what was loaded is the value.
fn unless(value: u32, skip: u8) -> SockFilter {
    SockFilter::new(JUMP_EQUAL, 0, skip, value)
}

fn give(length: u32) -> SockFilter {
    SockFilter::new(RETURN, 0, 0, length)
}
