//! Edits of a route, and of what pods ask for, while their datagrams run.
//!
//! Looked at from the server: the device a packet came in by tells the router.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sortie_testkit::kube::Place;
use sortie_testkit::{Capture, Captured, Namespace};

use crate::objects::{hops, vips};
use crate::product::Product;
use crate::wire::{Sent, Stream, Wire, name};

/// How long datagrams of a pod may be missing around an edit on a busy machine.
const SILENCE: Duration = Duration::from_secs(15);
/// How many datagrams of each stream are looked at before and after an edit.
const SOME: usize = 5;
/// Pods that ask for nothing at first.
const FREE: &str = "free";

/// The pods `sip` leave by the route and with the Service's addresses already.
pub(crate) fn pods_follow_their_route_to_another_router_and_back(product: &Product, wire: &Wire) -> Result<()> {
    product.deploy((FREE, 3), json!({}))?;
    let far = Far::new(&product.cluster.site.server)?;
    let (sip, free) = (streams(product, "sip")?, streams(product, FREE)?);
    let ways = |routed, other| far.await_all(product, &[(&sip, routed), (&free, other)]);
    ways("b", "a")?;
    edit(product, "c")?;
    ways("c", "a")?;
    none_is_missing(&far.arrivals()?, &free)?;
    annotate(product, "sortie.dev/route=b")?;
    ways("c", "c")?;
    edit(product, "b")?;
    ways("b", "b")?;
    annotate(product, "sortie.dev/route-")?;
    ways("b", "a")?;
    let seen = far.arrivals()?;
    let silence = [they_went(&seen, &sip, "bcb")?, they_went(&seen, &free, "acba")?];
    eprintln!("           longest silence of pods with an address {:?}, of others {:?}", silence[0], silence[1]);
    nothing_leaked(wire)?;
    product.kubectl.run(&["delete", "deployment", FREE]).map(drop)
}

/// Makes the route go by another router.
fn edit(product: &Product, router: &str) -> Result<()> {
    let spec = json!({"spec": {"nextHops": hops(router)}}).to_string();
    product.kubectl.run(&["patch", "serviceoutboundroute", "b", "--type=merge", "-p", &spec]).map(drop)
}

fn annotate(product: &Product, word: &str) -> Result<()> {
    product.kubectl.run(&["annotate", "pods", "-l", &format!("app={FREE}"), word]).map(drop)
}

/// What the pods of a Deployment send, in both families.
fn streams(product: &Product, app: &str) -> Result<Vec<Stream>> {
    let pods = product.pods(app)?;
    ensure!(!pods.is_empty(), "no pods of {app}");
    Ok(pods.iter().flat_map(|pod| [(pod.name.clone(), false), (pod.name.clone(), true)]).collect())
}

/// Everything that reaches the server.
struct Far(Capture);

/// A packet of a pod at the server.
#[derive(Clone, Debug)]
struct Arrival {
    number: u64,
    router: String,
    source: IpAddr,
    at: Instant,
}

/// What came of each stream, in order.
type Arrivals = BTreeMap<Stream, Vec<Arrival>>;

impl Far {
    fn new(server: &Namespace) -> Result<Self> {
        Capture::start(server).map(Self)
    }

    fn arrivals(&self) -> Result<Arrivals> {
        let mut arrivals = Arrivals::new();
        for captured in self.0.packets()?.iter().filter(|captured| captured.is_incoming) {
            let Some((pod, arrival)) = arrival(captured) else { continue };
            arrivals.entry((pod, arrival.source.is_ipv6())).or_default().push(arrival);
        }
        Ok(arrivals)
    }

    /// Waits until the last packets of every stream came by its router.
    fn await_all(&self, product: &Product, wanted: &[(&Vec<Stream>, &str)]) -> Result<()> {
        let all = || {
            let seen = self.arrivals().unwrap_or_default();
            let by = |stream, router| {
                let last = seen.get(stream).map(|arrivals| arrivals.iter().rev().take(SOME)).into_iter().flatten();
                last.filter(|arrival| arrival.router == router).count() == SOME
            };
            wanted.iter().all(|(streams, router)| streams.iter().all(|stream| by(stream, *router)))
        };
        let routers: Vec<&str> = wanted.iter().map(|(_, router)| *router).collect();
        product.until(&format!("pods at {routers:?}"), all)
    }
}

fn arrival(captured: &Captured) -> Option<(String, Arrival)> {
    let (pod, number) = name(&captured.packet.payload)?;
    let (router, source, at) = (captured.device.clone(), captured.packet.source, captured.at);
    Some((pod, Arrival { number, router, source, at }))
}

/// Fails unless every stream came by these routers one after the other, never by another or back, with the address it must
/// have there. Returns the longest silence of one.
fn they_went(seen: &Arrivals, streams: &[Stream], routers: &str) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    for stream in streams {
        let arrivals = seen.get(stream).with_context(|| format!("nothing of {stream:?}"))?;
        let mut ways: Vec<&str> = arrivals.iter().map(|arrival| arrival.router.as_str()).collect();
        ways.dedup();
        ensure!(ways.concat() == routers, "{stream:?} came by {ways:?} instead of {routers}");
        for arrival in arrivals {
            ensure!(sources(stream, &arrival.router)?.contains(&arrival.source), "{stream:?}: {arrival:?}");
        }
        let silence = arrivals.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default();
        ensure!(silence < SILENCE, "{stream:?} was silent for {silence:?}");
        longest = longest.max(silence);
    }
    Ok(longest)
}

/// The addresses that packets of a pod may have behind a router.
fn sources((pod, _): &Stream, router: &str) -> Result<Vec<IpAddr>> {
    let of_nodes = |of: fn(Place) -> [IpAddr; 2]| (1..=3).flat_map(|node| of(Place(node))).collect();
    match router {
        _ if pod.starts_with("sip-") => vips(),
        "a" => Ok(of_nodes(Place::inner)),
        _ => Ok(of_nodes(Place::outer)),
    }
}

/// Fails when the server did not get each datagram of these.
fn none_is_missing(seen: &Arrivals, streams: &[Stream]) -> Result<()> {
    for stream in streams {
        let arrivals = seen.get(stream).with_context(|| format!("nothing of {stream:?}"))?;
        let first = arrivals.first().context("nothing arrived")?.number;
        let numbers = arrivals.iter().map(|arrival| arrival.number);
        ensure!(numbers.eq((first..).take(arrivals.len())), "of {stream:?} something is missing: {arrivals:?}");
    }
    Ok(())
}

/// Also what no router passed on left its node rightly.
fn nothing_leaked(wire: &Wire) -> Result<()> {
    let vips = vips()?;
    wire.only("sip", |sent: &Sent| sent.port.ends_with('o') && vips.contains(&sent.source))?;
    let own = |sent: &Sent, network: &str, of: fn(Place) -> [IpAddr; 2]| {
        (1..=3).any(|node| sent.port == format!("n{node}{network}") && of(Place(node)).contains(&sent.source))
    };
    wire.only(FREE, |sent| own(sent, "o", Place::outer) || own(sent, "l", Place::inner))
}
