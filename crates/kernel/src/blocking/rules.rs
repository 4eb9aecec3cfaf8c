//! Policy rules with our protocol number.
//!
//! Guarantees: only rules with [`ids::PROTOCOL`] are listed or removed; adding and removing are idempotent;
//! a removal takes exactly the rule named although the kernel reads an absent selector as "any".
//! Leaves out: rules of ours in a shape [`Rule`] cannot express, which are neither listed nor touched.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::rule::RuleMessage;
use nix::libc;
use sortie_core::doctor::ForeignRule;
use sortie_core::model::Family;
use sortie_core::state::Rule;

use crate::KernelError;
use crate::netlink::message::flag;
use crate::netlink::{Connection, Refusal};

mod shape;
mod watch;

use watch::Watch;

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
/// Lists torn by concurrent changes are repeated this often.
const DUMP_ATTEMPTS: usize = 20;

/// The rules of the network namespace it was opened in.
pub struct Rules {
    connection: Connection,
    /// Only for lists that come in several parts.
    watch: Option<Watch>,
}

impl Rules {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::route()?, watch: None })
    }

    /// Makes sure the rule is there once; an equal rule of ours is success.
    ///
    /// # Errors
    /// What the kernel answers, with the rule in iproute2 words.
    pub fn ensure(&mut self, rule: &Rule) -> Result<(), KernelError> {
        match self.add(rule, flag::EXCL) {
            // The kernel also says so for a rule that is only more specific than this one.
            Err(refusal) if refusal.is(libc::EEXIST) && !self.is_present(rule)? => self.add(rule, 0),
            Err(refusal) if refusal.is(libc::EEXIST) => Ok(()),
            other => other,
        }
        .map_err(|refusal| refusal.about("add rule", shape::describe(rule)))
    }

    /// Removes the rule; absent is success.
    ///
    /// The kernel deletes the first rule that has what the request names, so a rule that has more
    /// selectors and stands earlier would be taken instead. Those are first repeated behind it, so
    /// that no flow ever misses them.
    ///
    /// # Errors
    /// What the kernel answers, with the rule in iproute2 words.
    pub fn remove(&mut self, rule: &Rule) -> Result<(), KernelError> {
        let listed = self.dump(rule.family)?;
        let Some(last) = listed.iter().rposition(|r| r == rule) else { return Ok(()) };
        let taken: Vec<_> = listed[..=last].iter().filter(|r| shape::deletion_takes(rule, r)).collect();
        for shadow in taken.iter().filter(|r| **r != rule) {
            self.add(shadow, 0).map_err(|refusal| refusal.about("repeat rule", shape::describe(shadow)))?;
        }
        for _ in &taken {
            let body = emit(&shape::encode(rule));
            match self.connection.request(RTM_DELRULE, 0, &body) {
                Err(refusal) if refusal.is(libc::ENOENT) => return Ok(()),
                other => other.map_err(|refusal| refusal.about("delete rule", shape::describe(rule)))?,
            }
        }
        Ok(())
    }

    /// Our rules in a range of priorities, both families.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn list(&mut self, priorities: RangeInclusive<u32>) -> Result<BTreeSet<Rule>, KernelError> {
        let mut rules = BTreeSet::new();
        for family in Family::ALL {
            rules.extend(self.dump(family)?.into_iter().filter(|rule| priorities.contains(&rule.priority)));
        }
        Ok(rules)
    }

    /// Rules of others, both families, in the order of evaluation.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn foreign(&mut self) -> Result<Vec<ForeignRule>, KernelError> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            let found = self.dump_all(family, |message| shape::foreign(message, family));
            rules.extend(found.map_err(|refusal| refusal.about("list", "rules"))?.0);
        }
        Ok(rules)
    }

    /// Port by which notifications about our requests are recognised.
    #[cfg(feature = "async")]
    pub(crate) fn port(&self) -> u32 {
        self.connection.port()
    }

    fn add(&mut self, rule: &Rule, exclusive: u16) -> Result<(), Refusal> {
        self.connection.request(RTM_NEWRULE, flag::CREATE | exclusive, &emit(&shape::encode(rule)))
    }

    fn is_present(&mut self, rule: &Rule) -> Result<bool, KernelError> {
        Ok(self.dump(rule.family)?.contains(rule))
    }

    /// In the order of the kernel, which is the order of evaluation.
    fn dump(&mut self, family: Family) -> Result<Vec<Rule>, KernelError> {
        for _ in 0..DUMP_ATTEMPTS {
            self.watch.as_ref().map(Watch::saw_change);
            let (rules, parts) = self.dump_once(family).map_err(|refusal| refusal.about("list", "rules"))?;
            if parts <= 1 {
                return Ok(rules);
            }
            match &self.watch {
                Some(watch) if !watch.saw_change() => return Ok(rules),
                Some(_) => {}
                None => self.watch = Some(Watch::open()?),
            }
        }
        Err(KernelError::Answer { operation: "list rules", detail: "they change faster than they can be read".into() })
    }

    fn dump_once(&mut self, family: Family) -> Result<(Vec<Rule>, usize), Refusal> {
        self.dump_all(family, shape::decode)
    }

    fn dump_all<T>(
        &mut self,
        family: Family,
        each: impl Fn(&RuleMessage) -> Option<T>,
    ) -> Result<(Vec<T>, usize), Refusal> {
        let mut message = RuleMessage::default();
        message.header.family = shape::address_family(family);
        let rules = self.connection.dump_parts(RTM_GETRULE, &emit(&message), |answer| {
            if answer.header.kind != RTM_NEWRULE {
                return None;
            }
            RuleMessage::parse(answer.body).ok().as_ref().and_then(&each)
        });
        match rules {
            Err(refusal) if refusal.is_missing_family() => Ok((Vec::new(), 0)),
            other => other,
        }
    }
}

/// The rule of ours in the body of a message, if it has a shape of ours.
#[cfg(feature = "async")]
pub(crate) fn rule_of(body: &[u8]) -> Option<Rule> {
    RuleMessage::parse(body).ok().as_ref().and_then(shape::decode)
}

fn emit(message: &RuleMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
