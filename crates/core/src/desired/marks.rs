//! Marks in the words of nft.

use std::collections::BTreeMap;

use super::Inputs;
use super::exits::Exit;
use crate::ids::{EXIT_NONE, EXIT_TUNNEL, Numbers};
use crate::selection::PathKey;
use crate::steering::Remote;

/// Marks in nft words.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) numbers: Numbers,
}

impl Marks {
    pub(super) fn path(self) -> String {
        format!("ct mark and {:#010x}", self.numbers.ct_mark.0)
    }
    pub(super) fn exit(self) -> String {
        format!("meta mark and {:#010x}", self.numbers.packet_mark.0)
    }
    pub(super) fn exit_value(self, exit: u8) -> u32 {
        self.numbers.packet_mark.place(u32::from(exit))
    }
    pub(super) fn path_value(self, path: u16) -> u32 {
        self.numbers.ct_mark.place(u32::from(path))
    }
    pub(super) fn set_exit(self, exit: u8) -> String {
        let others = self.numbers.packet_mark.others();
        format!("meta mark set meta mark and {others:#010x} or {:#010x}", self.exit_value(exit))
    }
    /// The node a flow came from.
    pub(super) fn node(self) -> String {
        format!("ct mark and {:#010x}", self.numbers.node_mark.0)
    }
    pub(super) fn path_and_node(self) -> String {
        format!("ct mark and {:#010x}", self.numbers.ct_mark.0 | self.numbers.node_mark.0)
    }
    pub(super) fn set_return(self) -> String {
        let bit = self.numbers.return_mark;
        format!("meta mark set meta mark and {:#010x} or {:#010x}", bit.others(), bit.0)
    }
    /// The exit "tunnel", and no way back.
    pub(super) fn enter_tunnel(self) -> String {
        let others = self.numbers.packet_mark.others() & self.numbers.return_mark.others();
        format!("meta mark set meta mark and {others:#010x} or {:#010x}", self.exit_value(EXIT_TUNNEL))
    }
    pub(super) fn set_path(self, path: u16) -> String {
        let others = self.numbers.ct_mark.others();
        format!("ct mark set ct mark and {others:#010x} or {:#010x}", self.path_value(path))
    }
}

/// What a path's elements depend on.
pub(super) struct Numbering<'a> {
    pub(super) marks: Marks,
    pub(super) exits: &'a BTreeMap<String, Exit>,
    pub(super) remote: &'a BTreeMap<PathKey, Remote>,
    pub(super) inputs: &'a Inputs<'a>,
}

impl Numbering<'_> {
    /// The exit of a path that does not leave here.
    pub(super) fn elsewhere(&self, path: &PathKey) -> u8 {
        if self.remote.contains_key(path) { EXIT_TUNNEL } else { EXIT_NONE }
    }
}
