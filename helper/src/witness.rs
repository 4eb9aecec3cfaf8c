//! What the kernel itself says about a packet that is explained.
//!
//! Guarantees: the kernel is only asked; what it says otherwise than expected is said as such. Leaves out: what netfilter
//! does with the packet: the exit's number is put into the question.

use std::fs;
use std::net::IpAddr;

use sortie_core::explain::{Check, Explanation, Finding, KernelAnswer, Outcome, Question, Way};
use sortie_core::ids::{EXIT_NONE, Numbers, PRIORITY_MAIN, TABLE_MAIN};
use sortie_core::model::{DeviceName, Family};
use sortie_core::state::{ConntrackEntry, ConntrackFilter};
use sortie_kernel::KernelError;
use sortie_kernel::blocking::{Conntrack, Elements};
use sortie_kernel::lookup::{Answer, Lookup, Packet};

use crate::node::chain;

/// Where connection tracking says how full it is.
const TRACKING: &str = "/proc/sys/net/netfilter";
/// Parts of a hundred of the table of connections from which it is worth a word.
const FULL: u64 = 90;

/// Adds what the kernel says.
pub(crate) async fn testify(told: &mut Explanation, question: &Question, numbers: Numbers) {
    let Some(own) = told.own_address(question) else { return };
    let Some(way) = told.way.clone() else { return };
    if let Err(error) = routing(told, (question, own), (&way, numbers)) {
        told.look([Check::new("routing", Finding::Note, format!("the kernel could not be asked: {}", chain(&error)))]);
    }
    told.look(fullness());
    if told.source.as_ref().is_some_and(|source| source.leased) {
        told.look([permission()]);
    }
    // The table may be long.
    let flows = tokio::task::spawn_blocking(move || Conntrack::open()?.find(&ConntrackFilter::Address(own))).await;
    if let Ok(Ok(flows)) = flows {
        let flows = flows.into_iter().filter(|flow| is_asked(flow, (question, own)));
        told.look(flows.filter_map(|flow| carried(&flow, (&way, numbers))));
    }
}

fn routing(
    told: &mut Explanation,
    (question, own): (&Question, IpAddr),
    (way, numbers): (&Way, Numbers),
) -> Result<(), KernelError> {
    let mut lookup = Lookup::open()?;
    let mark = numbers.packet_mark.place(u32::from(way.exit));
    let ports = (question.source_port.unwrap_or_default(), question.destination_port.unwrap_or_default());
    let packet = Packet {
        from: own,
        to: question.destination,
        incoming: lookup.towards(own)?,
        mark,
        protocol: question.protocol.number(Family::of(own)),
        ports,
    };
    let answer = lookup.forward(&packet)?;
    let agrees = agrees(way, &answer, numbers);
    told.kernel.push(KernelAnswer { question: packet.to_string(), answer: answer.to_string(), agrees });
    told.look([if agrees {
        Check::new("routing", Finding::Ok, format!("the kernel agrees: {answer}"))
    } else {
        Check::new("routing", Finding::Fails, disagreement(way, &answer))
    }]);
    if told.outcome != Outcome::Route {
        return Ok(());
    }
    for hop in &way.next_hops {
        answers(told, &mut lookup, &Packet { incoming: DeviceName(hop.device.clone()), ..back(&packet) })?;
    }
    Ok(())
}

/// The answer, after its address was translated back.
fn back(packet: &Packet) -> Packet {
    let (source, destination) = packet.ports;
    Packet { from: packet.to, to: packet.from, ports: (destination, source), ..packet.clone() }
}

/// Whether answers reach the pod: here strict source checks bite.
fn answers(told: &mut Explanation, lookup: &mut Lookup, packet: &Packet) -> Result<(), KernelError> {
    let answer = lookup.forward(packet)?;
    let agrees = matches!(answer, Answer::Sent { .. });
    told.kernel.push(KernelAnswer { question: packet.to_string(), answer: answer.to_string(), agrees });
    let device = &packet.incoming;
    let message = match &answer {
        Answer::Sent { .. } => format!("answers that come in by {device} reach the pod: {answer}"),
        refused if refused.is_source_check() => format!(
            "answers that come in by {device} are dropped by the source check: net.ipv4.conf.{device}.rp_filter is strict and src_valid_mark is 0; the helper sets src_valid_mark to 1, somebody sets it back"
        ),
        refused => format!("answers that come in by {device} do not reach the pod: {refused}; is forwarding on?"),
    };
    told.look([Check::new("answers", if agrees { Finding::Ok } else { Finding::Fails }, message)]);
    Ok(())
}

fn agrees(way: &Way, answer: &Answer, numbers: Numbers) -> bool {
    match answer {
        Answer::Refused(_) => way.exit == EXIT_NONE,
        Answer::Sent { .. } if way.exit == EXIT_NONE => false,
        Answer::Sent { table, .. } if way.table == TABLE_MAIN => !(numbers.tables.0..=numbers.tables.1).contains(table),
        Answer::Sent { device, table, .. } => {
            *table == way.table && way.next_hops.iter().any(|hop| hop.device == device.0)
        }
    }
}

fn disagreement(way: &Way, answer: &Answer) -> String {
    if answer.is_source_check() {
        return "the kernel drops the packet by its source check (rp_filter) where it comes from the pod".to_owned();
    }
    let wanted = if way.exit == EXIT_NONE { "that it is dropped".to_owned() } else { format!("table {}", way.table) };
    format!(
        "the kernel says otherwise: {answer}, expected was {wanted}; look for foreign rules before {PRIORITY_MAIN} in `ip rule` (`sortie-helper doctor`)"
    )
}

/// Whether this node may send with addresses that others could own, as the kernel sees it.
fn permission() -> Check {
    match Elements::open().and_then(|mut elements| elements.lease_left()) {
        Ok(left) if left.is_zero() => {
            let message = "the permission to send with addresses that other nodes could own has run out: the node hears no majority, or its helper is late (drop_lease)";
            Check::new("owner", Finding::Fails, message)
        }
        Ok(left) => Check::new(
            "owner",
            Finding::Ok,
            format!("the permission to send with it is there, for {} ms more", left.as_millis()),
        ),
        Err(error) => {
            Check::new("owner", Finding::Note, format!("the permission to send cannot be read: {}", chain(&error)))
        }
    }
}

/// Packets that find no room in the table of connections are dropped.
fn fullness() -> Option<Check> {
    let read = |name: &str| fs::read_to_string(format!("{TRACKING}/{name}")).ok()?.trim().parse::<u64>().ok();
    let (count, most) = (read("nf_conntrack_count")?, read("nf_conntrack_max")?);
    let finding = match () {
        () if count >= most => Finding::Fails,
        () if count * 100 >= most * FULL => Finding::Note,
        () => Finding::Ok,
    };
    Some(Check::new("conntrack", finding, format!("{count} of {most} connections are tracked (nf_conntrack_max)")))
}

/// A running flow between the pod and the far end that the question fits.
fn is_asked(flow: &ConntrackEntry, (question, own): (&Question, IpAddr)) -> bool {
    let fits = |asked: Option<u16>, port: u16| asked.is_none_or(|asked| asked == port);
    flow.original.source == own
        && flow.original.protocol == question.protocol.number(Family::of(own))
        && [flow.original.destination, flow.reply.source].contains(&question.destination)
        && fits(question.source_port, flow.original.source_port)
        && fits(question.destination_port, flow.original.destination_port)
}

/// A running flow keeps its path until it is forgotten.
fn carried(flow: &ConntrackEntry, (way, numbers): (&Way, Numbers)) -> Option<Check> {
    let path = numbers.ct_mark.read(flow.mark);
    let to = flow.original;
    (path != u32::from(way.path)).then(|| {
        let message = format!(
            "a running flow from port {} to {} port {} carries path {path}, a new one would carry {}; the helper forgets such flows, look again",
            to.source_port, to.destination, to.destination_port, way.path
        );
        Check::new("conntrack", Finding::Fails, message)
    })
}
