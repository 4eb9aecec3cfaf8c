//! What becomes of one entry of a wish: its path, a closed end, or nothing.
//!
//! Guarantees: an entry whose route or Service is missing never falls back to the main table, and an entry
//! that is not allowed never takes effect. Leaves out: other wishes for the same flows.

use crate::model::{Egress, Kind, ObjectName, Reason, Rejection, Service, ServiceOutboundRoute, Source};
use crate::selection::expand::{self, Defect};
use crate::selection::service;
use crate::selection::wish::{Origin, Subject, Who, Wish};
use crate::selection::{Flow, PathKey, PathSource};
use crate::world::World;

/// The outcome for one entry.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// Selected flows; with a problem they are all closed.
    pub flows: Vec<Flow>,
    /// Why the entry is not in force as written.
    pub problem: Option<Rejection>,
}

impl Verdict {
    /// Whether the pod's ADD fails if the pod itself asked for this.
    pub(super) fn is_bad_reference(&self) -> bool {
        let Some(problem) = &self.problem else { return false };
        self.flows.is_empty() || matches!(problem.reason, Reason::RouteNotFound | Reason::ServiceNotFound)
    }
}

/// Where an entry leads before its flows are known.
enum Fate {
    Open(PathKey),
    Closed(Problem),
    Unselected(Problem),
}

/// A rejection that does not know its object yet.
struct Problem {
    reason: Reason,
    part: Part,
    message: String,
    remedy: &'static str,
}

/// The part of an entry a problem is about.
#[derive(Clone, Copy)]
enum Part {
    Route,
    Source,
    Ports,
    Destinations,
}

/// Judges one entry of a wish for a pod.
pub(super) fn judge(world: &World, subject: &Subject<'_>, wish: &Wish<'_>, egress: &Egress) -> Verdict {
    let route = egress.route.as_ref().and_then(|name| world.routes.get(name));
    let (path, problem) = match fate(world, subject, wish.origin, egress) {
        Fate::Open(path) => (path, None),
        Fate::Closed(problem) => (PathKey::Closed, Some(problem)),
        Fate::Unselected(problem) => return Verdict { flows: Vec::new(), problem: Some(named(wish, problem)) },
    };
    match expand::expand(egress, route) {
        Ok(matchers) => {
            let flows = matchers.into_iter().map(|matcher| Flow { matcher, path: path.clone() }).collect();
            Verdict { flows, problem: problem.map(|p| named(wish, p)) }
        }
        Err(defect) => {
            let problem = problem.unwrap_or_else(|| unexpandable(defect));
            Verdict { flows: Vec::new(), problem: Some(named(wish, problem)) }
        }
    }
}

/// Why a route cannot be used by anybody: a gateway inside the cluster would be reached by a throw.
pub(super) fn unusable(world: &World, route: &ServiceOutboundRoute) -> Option<Rejection> {
    let gateways = route.next_hops.iter().enumerate().filter_map(|(i, hop)| Some((i, hop.gateway?)));
    let networks = || world.nodes.values().flat_map(|node| node.pod_cidrs.iter().map(move |cidr| (node, cidr)));
    let (index, gateway, (node, cidr)) = gateways
        .filter_map(|(i, gateway)| Some((i, gateway, networks().find(|(_, cidr)| cidr.contains(gateway))?)))
        .next()?;
    Some(Rejection {
        reason: Reason::Invalid,
        object: format!("{:?} {}", Kind::ServiceOutboundRoute, route.name),
        field: format!("spec.nextHops[{index}].gateway"),
        message: format!(
            "{gateway} lies inside {cidr}, the pod network of Node {}; traffic by it is dropped",
            node.name
        ),
        remedy: "name a gateway outside the cluster".to_owned(),
    })
}

fn fate(world: &World, subject: &Subject<'_>, origin: Origin, egress: &Egress) -> Fate {
    let route = match &egress.route {
        None => None,
        Some(name) => match world.routes.get(name) {
            None => return Fate::Closed(route_not_found(name)),
            Some(route) => Some(route),
        },
    };
    if let Some(route) = route
        && origin != Origin::NetConf
        && !world.allows(&route.allowed_namespaces, subject.namespace)
    {
        return Fate::Unselected(not_allowed(subject.namespace, route));
    }
    let source = match &egress.source {
        Source::Service(name) => return by_service(world, subject, (name, route)),
        Source::Device => PathSource::Device,
        Source::Pod => PathSource::Pod,
    };
    let Some(route) = route else { return Fate::Unselected(no_route()) };
    match unusable(world, route) {
        None => Fate::Open(PathKey::Route { route: route.name.clone(), source }),
        Some(cause) => Fate::Closed(unusable_route(route, &cause)),
    }
}

fn by_service(world: &World, subject: &Subject<'_>, (name, route): (&str, Option<&ServiceOutboundRoute>)) -> Fate {
    let key = ObjectName { namespace: subject.namespace.unwrap_or_default().to_owned(), name: name.to_owned() };
    let Some(found) = world.services.get(&key) else { return Fate::Closed(service_not_found(&key)) };
    if !matches!(subject.pod, Who::Anyone) && !service::selects(found, subject.labels()) {
        return Fate::Unselected(does_not_select(&key, subject));
    }
    if let Some(route) = route
        && let Some(cause) = unusable(world, route)
    {
        return Fate::Closed(unusable_route(route, &cause));
    }
    match no_address(found) {
        None => Fate::Open(PathKey::Address { service: key, route: route.map(|r| r.name.clone()) }),
        Some(problem) => Fate::Closed(problem),
    }
}

fn no_address(service: &Service) -> Option<Problem> {
    let (message, remedy) = match (service.is_ours(), service.addresses.is_empty()) {
        (true, false) => return None,
        (true, true) => ("has no address yet", "see the conditions of the Service, or use another source"),
        (false, _) => (
            "is not of type LoadBalancer with loadBalancerClass sortie.dev/vip; addresses of other load balancers are not followed",
            "let the Service have that class or use another source",
        ),
    };
    let message = format!("Service {} {message}; its flows are dropped", service.name);
    Some(Problem { reason: Reason::NoAddress, part: Part::Source, message, remedy })
}

fn route_not_found(name: &str) -> Problem {
    Problem {
        reason: Reason::RouteNotFound,
        part: Part::Route,
        message: format!("ServiceOutboundRoute {name} does not exist"),
        remedy: "create the route or name another",
    }
}

fn not_allowed(namespace: Option<&str>, route: &ServiceOutboundRoute) -> Problem {
    let who = namespace.map_or_else(|| "a container without namespace".to_owned(), |n| format!("Namespace {n}"));
    Problem {
        reason: Reason::NamespaceNotAllowed,
        part: Part::Route,
        message: format!("ServiceOutboundRoute {} does not allow {who}", route.name),
        remedy: "let spec.allowedNamespaces of the route match the Namespace's labels or name another route",
    }
}

fn unusable_route(route: &ServiceOutboundRoute, cause: &Rejection) -> Problem {
    Problem {
        reason: Reason::Invalid,
        part: Part::Route,
        message: format!("ServiceOutboundRoute {} cannot be used: {}: {}", route.name, cause.field, cause.message),
        remedy: "correct the route or name another",
    }
}

fn no_route() -> Problem {
    Problem {
        reason: Reason::Invalid,
        part: Part::Route,
        message: "no route is named and the source is not a Service".to_owned(),
        remedy: "name a ServiceOutboundRoute",
    }
}

fn service_not_found(key: &ObjectName) -> Problem {
    Problem {
        reason: Reason::ServiceNotFound,
        part: Part::Source,
        message: format!("Service {key} does not exist"),
        remedy: "create the Service or use another source",
    }
}

fn does_not_select(key: &ObjectName, subject: &Subject<'_>) -> Problem {
    let pod = match subject.pod {
        Who::Known(pod) => format!("Pod {}", pod.name),
        Who::Unknown | Who::Anyone => "the pod, whose labels are not known".to_owned(),
    };
    Problem {
        reason: Reason::ServiceDoesNotSelectPod,
        part: Part::Source,
        message: format!("the selector of Service {key} does not match {pod}"),
        remedy: "let the Service select the pod or use another source",
    }
}

fn unexpandable(defect: Defect) -> Problem {
    let (part, message, remedy) = match defect {
        Defect::Protocols => (
            Part::Ports,
            "source ports and destination ports have no protocol in common".to_owned(),
            "give both lists ports of the same protocol",
        ),
        Defect::Destinations => (
            Part::Destinations,
            "nothing remains of the destinations within those of the route".to_owned(),
            "choose destinations that the route serves and that are not excepted",
        ),
        Defect::TooMany => (
            Part::Ports,
            format!("more than {} combinations of ports and destinations", expand::LIMIT),
            "use ranges of ports and larger networks",
        ),
    };
    Problem { reason: Reason::Invalid, part, message, remedy }
}

fn named(wish: &Wish<'_>, problem: Problem) -> Rejection {
    Rejection {
        reason: problem.reason,
        object: wish.label.clone(),
        field: field(wish.origin, problem.part).to_owned(),
        message: problem.message,
        remedy: problem.remedy.to_owned(),
    }
}

fn field(origin: Origin, part: Part) -> &'static str {
    match (origin, part) {
        (Origin::Policy, Part::Route) => "spec.route",
        (Origin::Policy, Part::Source) => "spec.source",
        (Origin::Policy, Part::Ports) => "spec.ports",
        (Origin::Policy, Part::Destinations) => "spec.destinations",
        (Origin::NetConf, Part::Route) => "routes.route",
        (Origin::NetConf, Part::Source) => "routes.source",
        (Origin::NetConf, Part::Ports) => "routes.ports",
        (Origin::NetConf, Part::Destinations) => "routes.destinations",
        (Origin::Service, Part::Route) => "metadata.annotations.sortie.dev/route",
        (Origin::Service, Part::Source) => "status.loadBalancer.ingress",
        (Origin::Service, Part::Ports) => "metadata.annotations.sortie.dev/egress-source-ports",
        (Origin::Service, Part::Destinations) => "metadata.annotations.sortie.dev/egress-destinations",
        (Origin::Annotation | Origin::Namespace, Part::Route) => "metadata.annotations.sortie.dev/route",
        (Origin::Annotation | Origin::Namespace, Part::Source) => "metadata.annotations.sortie.dev/source",
        (Origin::Annotation | Origin::Namespace, Part::Ports) => "metadata.annotations.sortie.dev/ports",
        (Origin::Annotation | Origin::Namespace, Part::Destinations) => "metadata.annotations.sortie.dev/destinations",
    }
}
