//! What the Envoys of all fleets have said about the load balancers they serve.
//!
//! Streams write into a [`ReportHub`]; the manager follows the merged [`Report`], of which a copy costs nothing, and
//! forwards it to whoever writes status. Nothing is decided here. In particular:
//!
//! - **A stream that ends takes its word with it, but takes nothing back.** Envoy keeps its configuration when the
//!   control plane goes, so a load balancer that drops out of the report is still programmed. Whoever writes
//!   `Programmed` moves it on what is *in* a report (another content version, a rejection), never on what is missing.
//! - **Another replica may hear what this one does not.** Reports of all replicas have to be merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::watch;

use crate::cache::FleetKey;
use crate::difference::changed_keys;
use crate::ir::LoadBalancerId;
use crate::snapshot::ContentVersion;
use crate::stream::LoadBalancerState;

/// What an Envoy calls itself: `node.id` of its first request. The name of its pod, for our own fleets.
///
/// Not authenticated beyond the fleet: a member of a fleet may speak for another member, and for nobody else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(String);

impl NodeId {
    /// The name as it was sent. Empty for an Envoy that gave none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for NodeId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

/// What Envoys say about one load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadBalancerReport {
    /// Content that at least one Envoy has accepted and serves. More than one while an update spreads.
    pub programmed: BTreeSet<ContentVersion>,
    /// Content that at least one Envoy has rejected, and its words.
    pub rejected: BTreeMap<ContentVersion, String>,
}

/// What live streams say about one load balancer, and who says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadBalancerVoices {
    /// Content that Envoys have accepted and serve, and which ones.
    pub programmed: BTreeMap<ContentVersion, BTreeSet<NodeId>>,
    /// Content that at least one Envoy has rejected, and its words.
    pub rejected: BTreeMap<ContentVersion, String>,
}

impl LoadBalancerVoices {
    /// Only the word of those that count: an Envoy that no client reaches serves nobody, whatever it accepted. A
    /// rejection counts whoever says it: the others are sent the same.
    pub fn of(&self, counts: impl Fn(&NodeId) -> bool) -> LoadBalancerReport {
        let Self { programmed, rejected } = self;
        let heard = programmed.iter().filter(|(_, nodes)| nodes.iter().any(&counts));
        LoadBalancerReport {
            programmed: heard.map(|(content, _)| content.clone()).collect(),
            rejected: rejected.clone(),
        }
    }
}

/// What live streams say about one fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetReport {
    /// How many Envoys are connected here.
    pub streams: usize,
    /// Load balancers that anything is known about.
    pub load_balancers: OrdMap<LoadBalancerId, LoadBalancerVoices>,
}

/// What live streams say. Fleets without a stream are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// By fleet.
    pub fleets: OrdMap<FleetKey, FleetReport>,
}

impl Report {
    /// Load balancers about which something else is said than in `before`. A fleet whose last stream ended says nothing,
    /// which is no news. Costs as much as what changed, where one was made from the other.
    pub fn changed_since(&self, before: &Self) -> BTreeSet<LoadBalancerId> {
        let none = OrdMap::new();
        let mut changed = BTreeSet::new();
        for item in before.fleets.diff(&self.fleets) {
            let (old, new) = match item {
                DiffItem::Add(_, new) => (&none, &new.load_balancers),
                DiffItem::Update {
                    old: (_, old),
                    new: (_, new),
                } => (&old.load_balancers, &new.load_balancers),
                DiffItem::Remove(..) => continue,
            };
            changed.extend(changed_keys(old, new));
        }
        changed
    }
}

/// Too many streams of one fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fleet has {open} streams open, which is the limit")]
pub struct TooManyStreams {
    /// How many are open.
    pub open: usize,
}

type StreamId = u64;

/// One stream: who it is, once it has said so, and what it said.
#[derive(Debug, Default)]
struct Voice {
    node: NodeId,
    states: BTreeMap<LoadBalancerId, LoadBalancerState>,
}

/// What each stream has said, by fleet.
type Said = BTreeMap<FleetKey, BTreeMap<StreamId, Voice>>;

/// Where streams report to. Cheap to clone; all clones are one hub.
#[derive(Debug, Clone, Default)]
pub struct ReportHub {
    said: Arc<Mutex<Said>>,
    report: Arc<watch::Sender<Report>>,
    opened: Arc<AtomicU64>,
}

impl ReportHub {
    /// A hub to which nobody has reported.
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows the report. Changes in quick succession are seen as one.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Registers a stream of `fleet`, unless there are `limit` already.
    pub fn open(&self, fleet: FleetKey, limit: usize) -> Result<Reporter, TooManyStreams> {
        let stream = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut said = self.lock();
        let open = said.get(&fleet).map_or(0, BTreeMap::len);
        if open >= limit {
            return Err(TooManyStreams { open });
        }
        said.entry(fleet.clone())
            .or_default()
            .insert(stream, Voice::default());
        self.publish(&said, &fleet, []);
        drop(said);
        Ok(Reporter {
            hub: self.clone(),
            fleet,
            stream,
        })
    }

    /// Merges again what the fleet's streams say about `ids`, and nothing else: the cost follows the change.
    fn publish<'a>(&self, said: &Said, fleet: &FleetKey, ids: impl IntoIterator<Item = &'a LoadBalancerId>) {
        let streams = said.get(fleet);
        self.report.send_if_modified(|report| {
            let Some(streams) = streams else {
                return report.fleets.remove(fleet).is_some();
            };
            let merged = report.fleets.entry(fleet.clone()).or_default();
            let mut changed = merged.streams != streams.len();
            merged.streams = streams.len();
            for id in ids {
                let voices = streams.values();
                let now = merge(voices.filter_map(|voice| Some((&voice.node, voice.states.get(id)?))));
                changed |= merged.load_balancers.get(id) != now.as_ref();
                match now {
                    Some(now) => drop(merged.load_balancers.insert(id.clone(), now)),
                    None => drop(merged.load_balancers.remove(id)),
                }
            }
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn merge<'a>(
    states: impl Iterator<Item = (&'a NodeId, &'a LoadBalancerState)>,
) -> Option<LoadBalancerVoices> {
    let mut merged = LoadBalancerVoices::default();
    for (node, LoadBalancerState { programmed, rejected }) in states {
        if let Some(content) = programmed {
            let nodes = merged.programmed.entry(content.clone()).or_default();
            nodes.insert(node.clone());
        }
        if let Some((content, message)) = rejected {
            // Of several messages the one that sorts first, so that it does not depend on who connected when.
            let kept = merged
                .rejected
                .entry(content.clone())
                .or_insert_with(|| message.clone());
            if message < kept {
                kept.clone_from(message);
            }
        }
    }
    (merged != LoadBalancerVoices::default()).then_some(merged)
}

/// One stream's voice. When it is dropped, what it said is gone from the report.
#[derive(Debug)]
pub struct Reporter {
    hub: ReportHub,
    fleet: FleetKey,
    stream: StreamId,
}

impl Reporter {
    /// Says who the stream is. Comes before the first [`Reporter::report`]; a stream is nobody until then.
    pub fn introduce(&self, node: NodeId) {
        let mut said = self.hub.lock();
        if let Some(voice) = (said.get_mut(&self.fleet)).and_then(|streams| streams.get_mut(&self.stream)) {
            voice.node = node;
            let ids: Vec<_> = voice.states.keys().cloned().collect();
            self.hub.publish(&said, &self.fleet, &ids);
        }
    }

    /// Passes on what [`crate::stream::Stream::take_changes`] gave.
    pub fn report(&self, changes: Vec<(LoadBalancerId, Option<LoadBalancerState>)>) {
        if changes.is_empty() {
            return;
        }
        let mut said = self.hub.lock();
        let Some(Voice { node: _, states }) = said
            .get_mut(&self.fleet)
            .and_then(|streams| streams.get_mut(&self.stream))
        else {
            return;
        };
        let mut ids = BTreeSet::new();
        for (id, state) in changes {
            match state {
                Some(state) => drop(states.insert(id.clone(), state)),
                None => drop(states.remove(&id)),
            }
            ids.insert(id);
        }
        self.hub.publish(&said, &self.fleet, &ids);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let mut said = self.hub.lock();
        let Some(streams) = said.get_mut(&self.fleet) else {
            return;
        };
        let ids: Vec<_> = streams
            .remove(&self.stream)
            .unwrap_or_default()
            .states
            .into_keys()
            .collect();
        if streams.is_empty() {
            said.remove(&self.fleet);
        }
        self.hub.publish(&said, &self.fleet, &ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> LoadBalancerId {
        LoadBalancerId::new("tenant-a", name).unwrap()
    }

    fn programmed(content: &str) -> Option<LoadBalancerState> {
        Some(LoadBalancerState {
            programmed: Some(content.into()),
            rejected: None,
        })
    }

    fn rejected(content: &str, words: &str) -> Option<LoadBalancerState> {
        Some(LoadBalancerState {
            programmed: None,
            rejected: Some((content.into(), words.to_owned())),
        })
    }

    #[test]
    fn one_envoy_is_enough_and_several_are_merged() {
        let (hub, fleet) = (ReportHub::new(), "tenant-a".parse::<FleetKey>().unwrap());
        let (one, two) = (
            hub.open(fleet.clone(), 9).unwrap(),
            hub.open(fleet.clone(), 9).unwrap(),
        );
        one.report(vec![(id("web"), programmed("v1"))]);
        two.report(vec![(id("web"), rejected("v2", "no"))]);
        let report = hub.subscribe().borrow().clone();
        let web = report.fleets[&fleet].load_balancers[&id("web")].of(|_| true);
        assert_eq!(web.programmed, BTreeSet::from(["v1".into()]));
        assert_eq!(web.rejected, BTreeMap::from([("v2".into(), "no".to_owned())]));
        assert_eq!(report.fleets[&fleet].streams, 2);
    }

    #[test]
    fn a_stream_that_ends_takes_only_its_own_word_with_it() {
        let (hub, fleet) = (ReportHub::new(), "tenant-a".parse::<FleetKey>().unwrap());
        let (one, two) = (
            hub.open(fleet.clone(), 9).unwrap(),
            hub.open(fleet.clone(), 9).unwrap(),
        );
        one.report(vec![(id("web"), programmed("v1"))]);
        two.report(vec![(id("web"), programmed("v2"))]);
        drop(two);
        let web = hub.subscribe().borrow().fleets[&fleet].load_balancers[&id("web")].of(|_| true);
        assert_eq!(web.programmed, BTreeSet::from(["v1".into()]));
        drop(one);
        assert_eq!(*hub.subscribe().borrow(), Report::default());
    }

    #[test]
    fn saying_the_same_again_wakes_nobody() {
        let (hub, fleet) = (ReportHub::new(), "tenant-a".parse::<FleetKey>().unwrap());
        let (one, two) = (hub.open(fleet.clone(), 9).unwrap(), hub.open(fleet, 9).unwrap());
        one.report(vec![(id("web"), programmed("v1"))]);
        let mut updates = hub.subscribe();
        updates.mark_unchanged();
        two.report(vec![(id("web"), programmed("v1"))]);
        assert!(!updates.has_changed().unwrap());
    }

    #[test]
    fn an_acknowledgement_counts_only_from_those_who_count_and_a_rejection_always() {
        let (hub, fleet) = (ReportHub::new(), "tenant-a".parse::<FleetKey>().unwrap());
        let (going, ready) = (
            hub.open(fleet.clone(), 9).unwrap(),
            hub.open(fleet.clone(), 9).unwrap(),
        );
        going.introduce("going".to_owned().into());
        ready.introduce("ready".to_owned().into());
        going.report(vec![
            (id("web"), programmed("v1")),
            (id("bad"), rejected("v1", "no")),
        ]);
        let of_ready = |name: &str| {
            let report = hub.subscribe().borrow().clone();
            report.fleets[&fleet].load_balancers[&id(name)].of(|node| node.as_str() == "ready")
        };
        assert_eq!(of_ready("web").programmed, BTreeSet::new());
        assert_eq!(of_ready("bad").rejected.len(), 1);
        ready.report(vec![(id("web"), programmed("v1"))]);
        assert_eq!(of_ready("web").programmed, BTreeSet::from(["v1".into()]));
    }

    #[test]
    fn a_stream_that_says_late_who_it_is_is_known_for_what_it_said_before() {
        let (hub, fleet) = (ReportHub::new(), "tenant-a".parse::<FleetKey>().unwrap());
        let late = hub.open(fleet.clone(), 9).unwrap();
        late.report(vec![(id("web"), programmed("v1"))]);
        late.introduce("envoy-1".to_owned().into());
        let web = hub.subscribe().borrow().fleets[&fleet].load_balancers[&id("web")].clone();
        assert_eq!(web.of(|node| node.as_str() == "envoy-1").programmed.len(), 1);
        assert_eq!(web.of(|node| node.as_str().is_empty()).programmed.len(), 0);
    }

    #[test]
    fn the_limit_of_streams_holds_for_each_fleet_by_itself() {
        let hub = ReportHub::new();
        let _open = hub.open("tenant-a".parse().unwrap(), 1).unwrap();
        assert_eq!(
            hub.open("tenant-a".parse().unwrap(), 1).unwrap_err(),
            TooManyStreams { open: 1 }
        );
        assert!(hub.open("tenant-b".parse().unwrap(), 1).is_ok());
    }
}
