//! What goes wrong, and how it comes right.

use sortie_core::ownership::Input;

use super::node::Life;
use super::rng::Rng;
use super::world::{Event, World};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Start(usize),
    Kill(usize),
    PowerOff(usize),
    Pause(usize),
    Resume(usize),
    Device(usize, bool),
    NextHop(usize, bool),
    /// Nodes of the mask on one side, the others on the other.
    Split(u8),
    Cut(usize, usize),
    Disturb(usize, usize, u64, u64),
    Heal,
    Suspect(usize, usize),
    Leave(usize),
}

/// Schedules up to six faults, with their ends, before `end`.
pub(crate) fn plan(world: &mut World, end: u64) {
    let count = world.nodes.len();
    for node in 0..count {
        let delay = if world.rng.percent(90) { world.rng.between(0, 150) } else { world.rng.between(0, end) };
        fault(world, delay, Fault::Start(node));
    }
    let (first, last) = if world.rng.percent(50) { burst(&mut world.rng, end) } else { (0, end) };
    for _ in 0..world.rng.between(0, 6) {
        let at = world.rng.between(first, last);
        let longest = [40, 400, 2000][world.rng.index(3)];
        let lasts = world.rng.between(1, longest);
        let (first, second) = pair(&mut world.rng, count);
        fault(world, at, first);
        let heals = world.rng.percent(75) && at + lasts < end;
        if let Some(second) = second.filter(|_| heals) {
            fault(world, at + lasts, second);
        }
    }
}

/// Much at once, after the cluster has settled.
fn burst(rng: &mut Rng, end: u64) -> (u64, u64) {
    let first = rng.between(600, end - 600);
    (first, first + 600)
}

fn pair(rng: &mut Rng, count: usize) -> (Fault, Option<Fault>) {
    let (node, other) = (rng.index(count), rng.index(count));
    match rng.index(13) {
        0 => (Fault::Kill(node), Some(Fault::Start(node))),
        1 => (Fault::PowerOff(node), Some(Fault::Start(node))),
        2 | 3 => (Fault::Pause(node), Some(Fault::Resume(node))),
        4 => (Fault::Device(node, false), Some(Fault::Device(node, true))),
        5 => (Fault::NextHop(node, false), Some(Fault::NextHop(node, true))),
        6 | 7 => (Fault::Split((rng.next() & 31) as u8), Some(Fault::Heal)),
        8 => (Fault::Cut(node, other), Some(Fault::Heal)),
        9 => (Fault::Disturb(node, other, rng.between(1, 60), rng.between(1, 120)), Some(Fault::Heal)),
        10 => (Fault::Suspect(node, other), None),
        _ => (Fault::Leave(node), Some(Fault::Start(node))),
    }
}

fn fault(world: &mut World, delay: u64, fault: Fault) {
    world.schedule(delay, 0, Event::Fault(fault));
}

pub(crate) fn strike(world: &mut World, fault: Fault) {
    world.note(|_| format!("** {fault:?}"));
    match fault {
        Fault::Start(node) => start(world, node),
        Fault::Kill(node) => stop(world, node, Life::Dead),
        Fault::PowerOff(node) => stop(world, node, Life::Off),
        Fault::Pause(node) if world.nodes[node].life == Life::Runs => world.nodes[node].life = Life::Paused,
        Fault::Resume(node) => resume(world, node),
        Fault::Device(node, up) => {
            world.nodes[node].device_up = up;
            health(world, node);
        }
        Fault::NextHop(node, up) => {
            world.nodes[node].hop_up = up;
            health(world, node);
        }
        Fault::Split(mask) => each_link(world, |from, to, link| {
            link.cut = (mask >> from) & 1 != (mask >> to) & 1;
        }),
        Fault::Cut(from, to) => world.links[from][to].cut = from != to,
        Fault::Disturb(from, to, loss, delay) => {
            (world.links[from][to].loss, world.links[from][to].delay) = (loss, delay);
        }
        Fault::Heal => each_link(world, |_, _, link| (link.cut, link.loss, link.delay) = (false, 0, 3)),
        Fault::Suspect(node, peer) => suspect(world, node, peer),
        Fault::Leave(node) => leave(world, node),
        Fault::Pause(_) => {}
    }
    if !matches!(fault, Fault::Leave(_) | Fault::Suspect(..)) {
        world.look_around(150, 400);
    }
    super::laws::disturbed(world, fault);
}

fn each_link(world: &mut World, change: impl Fn(usize, usize, &mut super::world::Link)) {
    for (from, row) in world.links.iter_mut().enumerate() {
        for (to, link) in row.iter_mut().enumerate().filter(|(to, _)| *to != from) {
            change(from, to, link);
        }
    }
}

fn start(world: &mut World, node: usize) {
    if matches!(world.nodes[node].life, Life::Dead | Life::Off) {
        let configs = world.configs.clone();
        let now = world.now;
        let actions = world.nodes[node].start(now, &configs);
        world.act_all(node, actions);
        world.look_around(20, 200);
    }
}

fn stop(world: &mut World, node: usize, life: Life) {
    if world.nodes[node].life != Life::Off {
        world.nodes[node].stop(life);
    }
}

fn resume(world: &mut World, node: usize) {
    if world.nodes[node].life != Life::Paused {
        return;
    }
    world.nodes[node].life = Life::Runs;
    for event in std::mem::take(&mut world.nodes[node].inbox) {
        if world.nodes[node].life == Life::Runs {
            world.process(node, event);
        }
    }
}

fn health(world: &mut World, node: usize) {
    let delay = world.rng.between(0, 100);
    world.schedule(delay, node, Event::Health);
}

fn suspect(world: &mut World, node: usize, peer: usize) {
    if node != peer && world.nodes[node].life == Life::Runs {
        let down = Input::Peer(world.nodes[peer].number, sortie_core::ownership::Presence::Down);
        world.schedule(0, node, Event::Deliver(down));
        world.schedule(300, node, Event::Look(peer));
    }
}

fn leave(world: &mut World, node: usize) {
    if world.nodes[node].life == Life::Runs && !world.nodes[node].leaving {
        world.nodes[node].leaving = true;
        world.schedule(0, node, Event::Deliver(Input::Leave));
        let delay = world.rng.between(1100, 1500);
        world.schedule(delay, node, Event::Exit);
    }
}
