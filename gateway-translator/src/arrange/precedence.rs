//! Which route holds a match: the one that the tenant made first.
//!
//! The Gateway API orders equal matches by the age of their routes, then by namespace and name. Envoy Gateway would
//! go by the age of the hub's objects, which says when something got here, and after a restore nothing at all. So an
//! equal match of a younger route does not reach the hub where an older one has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::topology::Topology;
use crate::domain::hostname::intersection;
use crate::origin::Source;
use crate::output::Kind;
use crate::target::RouteContent;
use crate::target::attachment::Attachment;

/// When the tenant made a route: the oldest sorts first, then by namespace and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age<'a> {
    undated: bool,
    at: Option<&'a Time>,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Age<'a> {
    pub(crate) fn of(source: &Source<'a>) -> Self {
        let at = source.origin.creation_timestamp.as_ref();
        Self {
            undated: at.is_none(),
            at,
            namespace: &source.origin.namespace,
            name: &source.origin.name,
        }
    }
}

/// A match of a route: the index of its rule, and its own within the rule.
pub(crate) type MatchIndex = (usize, usize);

/// A place where a route is: one of its listeners, and one of its host names, or none where it has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) at: Attachment,
    pub(crate) hostname: Option<String>,
}

/// What a route has at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing: the listener and the route have no host in common there.
    Nothing,
    /// Nothing: the host is another listener's.
    Elsewhere,
    /// All but these matches, which older routes hold.
    AllBut(BTreeSet<MatchIndex>),
}

/// A route that takes part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contender<'a> {
    pub(crate) kind: Kind,
    pub(crate) age: Age<'a>,
    pub(crate) content: &'a RouteContent,
}

/// Where routes meet: kind, listener, and the host that a request is for.
type Arena<'a> = (Kind, &'a Attachment, Option<String>);

/// A contender at one of its places.
struct Entry {
    contender: usize,
    place: usize,
    /// How exactly the route names the host: wildcards below nothing below names, the longer the more exact.
    exactness: (bool, usize),
}

/// What each contender has at each of its places, in the order given.
pub(crate) fn decide(contenders: &[Contender<'_>], topology: &Topology) -> Vec<Vec<(Place, Held)>> {
    let mut held: Vec<Vec<(Place, Held)>> = Vec::with_capacity(contenders.len());
    let mut arenas: BTreeMap<Arena<'_>, Vec<Entry>> = BTreeMap::new();
    for (index, contender) in contenders.iter().enumerate() {
        let mut places = Vec::new();
        for (place, arena) in arenas_of(contender, topology) {
            let state = match arena {
                Ok(arena) => {
                    let entry = Entry {
                        contender: index,
                        place: places.len(),
                        exactness: exactness(place.hostname.as_deref()),
                    };
                    arenas.entry(arena).or_default().push(entry);
                    Held::AllBut(BTreeSet::new())
                }
                Err(nothing) => nothing,
            };
            places.push((place, state));
        }
        held.push(places);
    }
    for mut entries in arenas.into_values().filter(|entries| entries.len() > 1) {
        // Of two routes on one listener, that which names the host more exactly goes first, whatever its age.
        entries.sort_by_key(|entry| {
            let age = contenders.get(entry.contender).map(|c| c.age);
            (std::cmp::Reverse(entry.exactness), age, entry.place)
        });
        settle(contenders, &entries, &mut held);
    }
    held
}

fn settle(contenders: &[Contender<'_>], entries: &[Entry], held: &mut [Vec<(Place, Held)>]) {
    let mut holders: HashMap<&str, usize> = HashMap::new();
    for entry in entries {
        let Some(contender) = contenders.get(entry.contender) else {
            continue;
        };
        for (rule, content) in contender.content.rules.iter().enumerate() {
            for (index, key) in content.match_keys.iter().enumerate() {
                let holder = *holders.entry(key.as_str()).or_insert(entry.contender);
                let state = held
                    .get_mut(entry.contender)
                    .and_then(|places| places.get_mut(entry.place));
                if let Some((_, Held::AllBut(lost))) = state.filter(|_| holder != entry.contender) {
                    lost.insert((rule, index));
                }
            }
        }
    }
}

/// Every place of a route, with where it meets others there, or why it has nothing there.
fn arenas_of<'a>(contender: &Contender<'a>, topology: &Topology) -> Vec<(Place, Result<Arena<'a>, Held>)> {
    let RouteContent {
        hostnames,
        rules: _,
        attachments,
    } = contender.content;
    let mut all = Vec::new();
    for at in attachments {
        let names: Vec<Option<&String>> = if hostnames.is_empty() {
            vec![None]
        } else {
            hostnames.iter().map(Some).collect()
        };
        for hostname in names {
            let place = Place {
                at: at.clone(),
                hostname: hostname.cloned(),
            };
            let arena = host_at(at, hostname.map(String::as_str), topology)
                .map(|host| (meets(contender.kind), at, host));
            all.push((place, arena));
        }
    }
    all
}

/// Kinds that would be told apart by the same means share an arena: on a TLS listener both a TLSRoute and a TCPRoute
/// take connections by name.
fn meets(kind: Kind) -> Kind {
    match kind {
        Kind::TlsRoute => Kind::TcpRoute,
        kind => kind,
    }
}

/// The host that requests are for; none stands for every host.
fn host_at(at: &Attachment, hostname: Option<&str>, topology: &Topology) -> Result<Option<String>, Held> {
    let Some(placed) = topology.get(at) else {
        // Nothing is known of the listener, which is not served.
        return Ok(hostname.map(str::to_owned));
    };
    let host = intersection(placed.listener.hostname.as_deref(), hostname).ok_or(Held::Nothing)?;
    match &host {
        Some(name) if topology.is_owned_by_others(placed, name) => Err(Held::Elsewhere),
        _ => Ok(host),
    }
}

fn exactness(hostname: Option<&str>) -> (bool, usize) {
    hostname.map_or((false, 0), |name| (!name.starts_with('*'), name.len()))
}
