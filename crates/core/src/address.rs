//! Addresses of Services of class `sortie.dev/vip`, out of pools.
//!
//! Guarantees: an address has one holder, lies in a pool that allows the holder's Namespace, and stays with it while
//! both are so; the result does not depend on the order of objects. Leaves out: who answers for an address, which is
//! ownership's, and keeping what was given (the helper writes it to disk; lost, it is given again in the same order).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{AddressPool, Family, Kind, ObjectKey, ObjectName, Reason, Rejection, Service};
use crate::world::World;

/// Addresses by Service, at most one per family unless the Service asks for more.
pub type Given = BTreeMap<ObjectName, Vec<IpAddr>>;

/// Gives every Service of our class its addresses, and says who gets none or fewer than it asks for.
#[must_use]
pub fn give(old: &Given, world: &World) -> (Given, Vec<(ObjectKey, Rejection)>) {
    let mut desk = Desk::open(world);
    let services = desk.in_line();
    // Holders first: nobody may take from them what they have.
    desk.keep(old, &services);
    for service in &services {
        if service.requested.is_empty() { desk.next_free(service) } else { desk.as_requested(service) }
    }
    desk.close(&services)
}

/// What Services of our class hold by their status, as far as it is still theirs; nobody gets anything new.
#[must_use]
pub fn held(world: &World) -> Given {
    let mut desk = Desk::open(world);
    let services = desk.in_line();
    desk.keep(&Given::new(), &services);
    desk.close(&services).0
}

/// The pool an address comes from, for its devices and nodes.
#[must_use]
pub fn pool_of(world: &World, address: IpAddr) -> Option<&AddressPool> {
    world.pools.values().find(|pool| holds(pool, address))
}

/// Addresses of the pool that Services of our class have, and the others. More than the API can count are as many as it
/// can.
#[must_use]
pub fn counts(world: &World, pool: &AddressPool) -> (u64, u64) {
    let of_services = world.services.values().filter(|service| service.is_ours()).flat_map(|s| &s.addresses);
    let held = of_services.filter(|address| holds(pool, **address)).collect::<BTreeSet<_>>().len();
    let held = u128::try_from(held).unwrap_or(u128::MAX);
    let number = |count: u128| u64::try_from(count).unwrap_or(COUNT_MAX).min(COUNT_MAX);
    (number(held), number(size(pool).saturating_sub(held)))
}

/// Most that a field of the API can hold.
const COUNT_MAX: u64 = i64::MAX.unsigned_abs();

/// Addresses of a pool, whose ranges may overlap.
fn size(pool: &AddressPool) -> u128 {
    let mut ranges: Vec<(Family, u128, u128)> =
        pool.addresses.iter().map(|(first, last)| (Family::of(*first), bits(*first), bits(*last))).collect();
    ranges.sort_unstable();
    let (mut size, mut end) = (0_u128, None);
    for (family, first, last) in ranges {
        let from = match end {
            Some((of, end)) if of == family && first <= end => end.saturating_add(1),
            _ => first,
        };
        if from <= last {
            size = size.saturating_add((last - from).saturating_add(1));
            end = Some((family, last));
        }
    }
    size
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

/// Requested addresses in the order of the request, others IPv4 first.
fn in_order(service: &Service, mine: &mut [IpAddr]) {
    mine.sort_by_key(|a| (service.requested.iter().position(|r| r == a).unwrap_or(usize::MAX), *a));
}

/// Whether a Service that has the address still wants it.
fn is_wanted(service: &Service, address: IpAddr) -> bool {
    if !service.requested.is_empty() {
        return service.requested.contains(&address);
    }
    service.families.is_empty() || service.families.contains(&Family::of(address))
}

fn holds(pool: &AddressPool, address: IpAddr) -> bool {
    pool.addresses.iter().any(|(first, last)| (*first..=*last).contains(&address))
}

struct Desk<'a> {
    world: &'a World,
    held: BTreeMap<IpAddr, ObjectName>,
    given: Given,
    refused: Vec<(ObjectKey, Rejection)>,
}

impl<'a> Desk<'a> {
    fn open(world: &'a World) -> Self {
        Self { world, held: BTreeMap::new(), given: Given::new(), refused: Vec::new() }
    }

    fn keep(&mut self, old: &Given, services: &[&Service]) {
        for service in services {
            let kept = old.get(&service.name).into_iter().flatten().chain(&service.addresses);
            kept.filter(|address| is_wanted(service, **address)).for_each(|address| drop(self.take(service, *address)));
        }
    }

    fn close(mut self, services: &[&Service]) -> (Given, Vec<(ObjectKey, Rejection)>) {
        for service in services {
            if let Some(mine) = self.given.get_mut(&service.name) {
                in_order(service, mine);
            }
        }
        (self.given, self.refused)
    }

    /// Older Services first.
    fn in_line(&self) -> Vec<&'a Service> {
        let mut services: Vec<&Service> = self.world.services.values().filter(|s| s.is_ours()).collect();
        services.sort_by(|a, b| (&a.meta.created, &a.name).cmp(&(&b.meta.created, &b.name)));
        services
    }

    fn of(&self, service: &ObjectName) -> Vec<IpAddr> {
        self.given.get(service).cloned().unwrap_or_default()
    }

    fn allowed(&self, service: &Service) -> impl Iterator<Item = &'a AddressPool> {
        let (world, namespace) = (self.world, service.name.namespace.clone());
        world.pools.values().filter(move |pool| world.allows(&pool.allowed_namespaces, Some(&namespace)))
    }

    /// # Errors
    /// Why the Service may not have it, as a message and a remedy.
    fn take(&mut self, service: &Service, address: IpAddr) -> Result<(), (String, &'static str)> {
        if !self.allowed(service).any(|pool| holds(pool, address)) {
            let message = match pool_of(self.world, address) {
                Some(pool) => format!("AddressPool {} does not allow Namespace {}", pool.name, service.name.namespace),
                None => format!("{address} is in no AddressPool"),
            };
            return Err((message, "ask for an address of a pool that allows the Namespace"));
        }
        match self.held.get(&address) {
            Some(holder) if *holder != service.name => {
                Err((format!("{address} is held by Service {holder}"), "ask for another address"))
            }
            _ => {
                self.give(service, address);
                Ok(())
            }
        }
    }

    fn as_requested(&mut self, service: &Service) {
        for address in &service.requested {
            if let Err((message, remedy)) = self.take(service, *address) {
                self.refuse(service, Reason::AddressNotAllowed, (message, remedy));
            }
        }
    }

    fn next_free(&mut self, service: &Service) {
        let has: BTreeSet<Family> = self.of(&service.name).into_iter().map(Family::of).collect();
        let offered: BTreeSet<Family> =
            self.allowed(service).flat_map(|p| &p.addresses).map(|(first, _)| Family::of(*first)).collect();
        let wanted = if service.families.is_empty() { offered.into_iter().collect() } else { service.families.clone() };
        if wanted.is_empty() {
            let message = format!("no AddressPool allows Namespace {}", service.name.namespace);
            return self.refuse(service, Reason::NoAddress, (message, "create a pool that does"));
        }
        for family in wanted.into_iter().filter(|family| !has.contains(family)) {
            if let Some(address) = self.free(service, family) {
                self.give(service, address);
                continue;
            }
            let message = format!("no {family:?} address is free in the pools of Namespace {}", service.name.namespace);
            self.refuse(service, Reason::NoAddress, (message, "enlarge a pool or free an address"));
        }
    }

    fn free(&self, service: &Service, family: Family) -> Option<IpAddr> {
        let ranges = self.allowed(service).flat_map(|pool| &pool.addresses);
        let mut of_family = ranges.filter(|(first, _)| Family::of(*first) == family);
        of_family.find_map(|range| first_free(*range, &self.held))
    }

    fn give(&mut self, service: &Service, address: IpAddr) {
        if self.held.insert(address, service.name.clone()).is_none() {
            self.given.entry(service.name.clone()).or_default().push(address);
        }
    }

    fn refuse(&mut self, service: &Service, reason: Reason, (message, remedy): (String, &str)) {
        let key = ObjectKey { kind: Kind::Service, name: service.name.clone() };
        let field = match reason {
            Reason::AddressNotAllowed => "metadata.annotations.sortie.dev/addresses",
            _ => "spec.loadBalancerClass",
        };
        let (object, field, remedy) = (key.to_string(), field.to_owned(), remedy.to_owned());
        self.refused.push((key, Rejection { reason, object, field, message, remedy }));
    }
}

/// Walks over what is held, not over what is free: a range may have 2^64 addresses.
fn first_free((first, last): (IpAddr, IpAddr), held: &BTreeMap<IpAddr, ObjectName>) -> Option<IpAddr> {
    let mut next = first;
    for taken in held.range(first..=last).map(|(address, _)| *address) {
        if taken > next {
            break;
        }
        next = successor(next)?;
    }
    (next <= last).then_some(next)
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(a) => u128::from(a).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

#[cfg(test)]
mod tests;
