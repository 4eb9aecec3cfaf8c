//! What came and went in the kernel, counted.

/// Objects of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) added: usize,
    pub(crate) removed: usize,
}

impl Count {
    fn total(self) -> usize {
        self.added + self.removed
    }
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Elements of sets and maps.
    pub(crate) elements: Count,
    /// Chains, rules in them, sets and other objects of nftables.
    pub(crate) chains: Count,
    /// Routes and routing rules.
    pub(crate) routes: Count,
    /// The kernel had more to say than there was room for.
    pub(crate) is_incomplete: bool,
}

impl Changes {
    pub(crate) fn total(&self) -> usize {
        self.elements.total() + self.chains.total() + self.routes.total()
    }

    /// One message about routing; its type (linux/rtnetlink.h).
    pub(crate) fn note_routing(&mut self, kind: u16) {
        match kind {
            // RTM_NEWROUTE, RTM_NEWRULE
            24 | 32 => self.routes.added += 1,
            // RTM_DELROUTE, RTM_DELRULE
            25 | 33 => self.routes.removed += 1,
            _ => {}
        }
    }

    /// One message about nftables; its type (linux/netfilter/nf_tables.h), below that of the subsystem.
    pub(crate) fn note_table(&mut self, kind: u16) {
        match kind & 0xff {
            // NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM
            12 => self.elements.added += 1,
            14 => self.elements.removed += 1,
            // NEWTABLE, NEWCHAIN, NEWRULE, NEWSET, NEWOBJ
            0 | 3 | 6 | 9 | 18 => self.chains.added += 1,
            // DELTABLE, DELCHAIN, DELRULE, DELSET, DELOBJ
            2 | 5 | 8 | 11 | 20 => self.chains.removed += 1,
            _ => {}
        }
    }

    /// Without what went: for a repair of what somebody else removed.
    pub(crate) fn additions(self) -> Self {
        let only = |count: Count| Count { removed: 0, ..count };
        Self { elements: only(self.elements), chains: only(self.chains), routes: only(self.routes), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_kind() {
        let mut changes = Changes::default();
        [24, 33, 16].into_iter().for_each(|kind| changes.note_routing(kind));
        [0x0a0c, 0x0a0e, 0x0a06, 0x0a0f].into_iter().for_each(|kind| changes.note_table(kind));
        let one = |added, removed| Count { added, removed };
        assert_eq!((changes.routes, changes.elements, changes.chains), (one(1, 1), one(1, 1), one(1, 0)));
        assert_eq!((changes.total(), changes.additions().total()), (5, 3));
    }
}
