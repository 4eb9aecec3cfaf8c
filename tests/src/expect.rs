//! What a flow must do.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{NODE4, NODE6, ROUTERS, SILENCE};
use sortie_testkit::{Flow, Lab, Namespace, Seen, probe, until};

use crate::scene::SOON;

/// The node's address towards a router, in the family of `like`.
#[must_use]
pub fn node_address(router: &str, like: IpAddr) -> IpAddr {
    let index = ROUTERS.iter().position(|name| *name == router).unwrap_or(0);
    if like.is_ipv4() { NODE4[index].into() } else { NODE6[index].into() }
}

/// The flow arrives by a router with the node's address there.
///
/// # Errors
/// When it does not.
pub fn leaves_by(lab: &Lab, from: &Namespace, flow: Flow, router: &str) -> Result<()> {
    leaves_as(lab, from, flow, (router, node_address(router, flow.to.ip())))
}

/// As [`leaves_by`], once a change has taken effect.
///
/// # Errors
/// When it does not in time.
pub fn leaves_by_soon(from: &Namespace, flow: Flow, router: &str) -> Result<()> {
    leaves_as_soon(from, flow, (router, node_address(router, flow.to.ip())))
}

/// As [`leaves_as`], once a change has taken effect.
///
/// # Errors
/// When it does not in time.
pub fn leaves_as_soon(from: &Namespace, flow: Flow, (router, source): (&str, IpAddr)) -> Result<()> {
    let (mut last, mut failure) = (None, None);
    let arrives = until(SOON, "the flow to arrive where it must", || {
        match probe(from, flow, SILENCE) {
            Ok(seen) => last = seen,
            Err(error) => failure = Some(error),
        }
        failure.is_some() || last.as_ref().is_some_and(|seen| seen.door == router && seen.source.ip() == source)
    });
    failure
        .map_or(arrives, Err)
        .with_context(|| format!("{flow}: the far end saw {last:?}, expected {router} {source}"))
}

/// The flow arrives by a router with this source address.
///
/// # Errors
/// When it does not.
pub fn leaves_as(lab: &Lab, from: &Namespace, flow: Flow, (router, source): (&str, IpAddr)) -> Result<()> {
    let seen = lab.ask(from, flow)?.with_context(|| format!("{flow}: no answer, expected {router} {source}"))?;
    let port = if flow.port == 0 { seen.source.port() } else { flow.port };
    let expected = Seen { door: router.to_owned(), source: SocketAddr::new(source, port) };
    ensure!(seen == expected, "{flow}: the far end saw {seen}, expected {expected}");
    Ok(())
}

/// The flow gets no answer, once a change has taken effect.
///
/// # Errors
/// When it still does.
pub fn is_dropped_soon(from: &Namespace, flow: Flow) -> Result<()> {
    until(SOON, "the flow to be dropped", || probe(from, flow, SILENCE).is_ok_and(|seen| seen.is_none()))
        .with_context(|| flow.to_string())
}

/// The flow gets no answer.
///
/// # Errors
/// When it does.
pub fn is_dropped(from: &Namespace, flow: Flow) -> Result<()> {
    let seen = probe(from, flow, SILENCE)?;
    ensure!(seen.is_none(), "{flow}: the far end saw {seen:?}, expected nothing");
    Ok(())
}
