//! One client's subscription to one resource type: what it wants, what it holds, what it was sent and said to it.
//!
//! Pure: no clock, no IO, no other type. What depends on other types (the order of adding and removing) comes in as
//! [`Gates`] from [`crate::stream`]. Quotations are from Envoy's "xDS REST and gRPC protocol".

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::blame;
use crate::snapshot::{Resource, ResourceName, ResourceType, Resources, Snapshot, Version};

/// The name that stands for everything.
pub(crate) const WILDCARD: &str = "*";

/// What a request says about one type, without the transport.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Names to add.
    pub subscribe: Vec<String>,
    /// Names to drop.
    pub unsubscribe: Vec<String>,
    /// What the client has from an earlier stream; counts in the first request only.
    pub initial_versions: BTreeMap<String, String>,
    /// The nonce this answers, or empty.
    pub nonce: String,
    /// Why the response was rejected.
    pub error: Option<String>,
}

/// What a request turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Subscriptions only.
    Subscription,
    /// The response in flight was accepted; these resources were in it.
    Ack(BTreeSet<ResourceName>),
    /// The response in flight was rejected.
    Nack {
        /// The client's words.
        message: String,
        /// Resources at fault.
        culprits: BTreeSet<ResourceName>,
        /// Whether the message named them. If not, everything in the response is a suspect.
        named: bool,
    },
    /// It answers a response that is not the one in flight.
    Stale,
}

/// What the client has of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    /// Exactly this: it said so.
    At(Version),
    /// Perhaps something. After a NACK a client may have applied part of a response.
    Unknown,
    /// Nothing, and it was told that there is none.
    Absent,
}

/// A resource that the client would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// At which version.
    pub version: Version,
    /// Why.
    pub message: String,
    /// Whether it was named. Then it is not sent again at this version, so that it cannot take others down with it:
    /// one resource that fails validation makes Envoy reject the whole response.
    named: bool,
}

/// A response that was sent and not answered yet.
#[derive(Debug, Clone)]
struct InFlight {
    nonce: String,
    /// What was sent; `None` for removals.
    sent: BTreeMap<ResourceName, Option<Version>>,
    snapshot: Arc<Snapshot>,
}

/// What to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Type.
    pub ty: ResourceType,
    /// Nonce.
    pub nonce: String,
    /// New and changed resources.
    pub resources: Vec<(ResourceName, Arc<Resource>)>,
    /// Names of resources that are gone.
    pub removed: Vec<ResourceName>,
}

/// What may go out now, as far as the other types are concerned.
pub struct Gates<'a> {
    /// Whether this resource may be added or changed.
    pub may_send: &'a dyn Fn(&Resource) -> bool,
    /// Whether resources may be removed.
    pub may_remove: bool,
}

/// One client's subscription to one type.
#[derive(Debug, Clone)]
pub struct Subscription {
    ty: ResourceType,
    started: bool,
    wildcard: bool,
    names: BTreeSet<ResourceName>,
    held: BTreeMap<ResourceName, Held>,
    in_flight: Option<InFlight>,
    parked_at: Option<String>,
    refusals: BTreeMap<ResourceName, Refusal>,
    owes_reply: bool,
    unsettled: Unsettled,
}

/// Names of which the client may lack something or have too much. All that it does not have as it should are among them,
/// and few others, so that an answer costs as much as what changed.
#[derive(Debug, Clone)]
enum Unsettled {
    /// It is not known which: all that there is, and all that the client has or asks for.
    All,
    /// These.
    These(BTreeSet<ResourceName>),
}

impl Unsettled {
    fn add(&mut self, name: &ResourceName) {
        if let Self::These(names) = self {
            names.insert(name.clone());
        }
    }
}

impl Subscription {
    /// Nothing asked for yet.
    pub fn new(ty: ResourceType) -> Self {
        Self {
            ty,
            started: false,
            wildcard: false,
            names: BTreeSet::new(),
            held: BTreeMap::new(),
            in_flight: None,
            parked_at: None,
            refusals: BTreeMap::new(),
            owes_reply: false,
            unsettled: Unsettled::All,
        }
    }

    /// Takes a new snapshot in. `before` is the one that it was told of last, if it was told of one without a gap.
    pub fn on_snapshot(&mut self, before: Option<&Resources>, now: &Resources) {
        match (before, &mut self.unsettled) {
            (Some(before), Unsettled::These(names)) => names.extend(now.changed_since(before)),
            (None, unsettled) => *unsettled = Unsettled::All,
            (Some(_), Unsettled::All) => {}
        }
        // Nobody refused what is offered now.
        self.refusals.retain(|name, refusal| {
            now.get(name)
                .is_some_and(|resource| *resource.version() == refusal.version)
        });
    }

    /// Whether the client has ever sent a request for this type.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Takes a request in.
    pub fn on_request(&mut self, request: Request) -> Heard {
        // The answer first: what it says is about the subscriptions as they were when the response was sent.
        let heard = self.on_answer(&request.nonce, request.error.as_deref());
        if self.started {
            self.unsubscribe(&request.unsubscribe);
            self.subscribe(&request.subscribe);
        } else {
            self.start(&request);
        }
        heard
    }

    /// The first request of this type on the stream.
    fn start(&mut self, request: &Request) {
        self.started = true;
        self.unsettled = Unsettled::All;
        // "(legacy behavior) the request must have no resources in both resource_names_subscribe and
        // resource_names_unsubscribe." "Envoy will always use wildcard subscriptions for Listener and Cluster
        // resources"; for endpoints an empty request can only come from an Envoy that has no cluster at the moment.
        if request.subscribe.is_empty() && request.unsubscribe.is_empty() && self.ty != ResourceType::Endpoint
        {
            self.wildcard = true;
        }
        self.subscribe(&request.subscribe);
        // "On reconnect the Incremental xDS client may tell the server of its known resources to avoid resending them
        // over the network by sending them in initial_resource_versions."
        for (name, version) in &request.initial_versions {
            let name = ResourceName::from(name.as_str());
            if self.wants(&name) {
                self.held.insert(name, Held::At(Version::from(version.as_str())));
            }
        }
        // A client that starts empty waits for an answer, also if there is nothing to tell. One that already has
        // something has been answered before.
        self.owes_reply = self.wildcard && self.held.is_empty();
    }

    fn subscribe(&mut self, names: &[String]) {
        for name in names {
            if name == WILDCARD {
                self.wildcard = true;
                self.unsettled = Unsettled::All;
                continue;
            }
            let name = ResourceName::from(name.as_str());
            // "A resource_names_subscribe field may contain resource names that the server believes the client is
            // already subscribed to, and furthermore has the most recent versions of. However, the server must still
            // provide those resources in the response; due to implementation details hidden from the server, the
            // client may have "forgotten" those resources despite apparently remaining subscribed."
            self.forget(&name);
            self.names.insert(name);
        }
    }

    fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            if name == WILDCARD {
                self.wildcard = false;
                self.unsettled = Unsettled::All;
                let kept = &self.names;
                self.held.retain(|name, _| kept.contains(name));
            } else if self.names.remove(name.as_str()) {
                // Under a wildcard "the server must send a response that includes the specific resource in either the
                // removed_resources field (if it is not included in the wildcard) or in the resources field (if it is
                // included in the wildcard)", since the client cannot know whether to keep it.
                let name = ResourceName::from(name.as_str());
                self.forget(&name);
                if self.wildcard {
                    self.held.insert(name, Held::Unknown);
                }
            }
        }
    }

    /// Treats `name` as never sent, so that it is sent (again).
    pub fn forget(&mut self, name: &ResourceName) {
        self.unsettled.add(name);
        self.held.remove(name);
        if let Some(in_flight) = &mut self.in_flight {
            // Its ACK will not be about what the client has by then.
            in_flight.sent.remove(name);
        }
    }

    fn on_answer(&mut self, nonce: &str, error: Option<&str>) -> Heard {
        if nonce.is_empty() {
            return Heard::Subscription;
        }
        // "the server must honor changes to the subscription state even if the nonce is stale. The nonce may be used
        // to correlate an ack/nack with a server response": a stale one answers nothing.
        match self.in_flight.take_if(|in_flight| in_flight.nonce == nonce) {
            None => Heard::Stale,
            Some(answered) => match error {
                None => self.on_ack(answered),
                Some(message) => self.on_nack(answered, message),
            },
        }
    }

    fn on_ack(&mut self, answered: InFlight) -> Heard {
        let names = answered.sent.keys().cloned().collect();
        for (name, version) in answered.sent {
            self.unsettled.add(&name);
            self.refusals.remove(&name);
            if !self.wants(&name) {
                continue;
            }
            match version {
                Some(version) => drop(self.held.insert(name, Held::At(version))),
                None if self.names.contains(&name) => drop(self.held.insert(name, Held::Absent)),
                None => drop(self.held.remove(&name)),
            }
        }
        Heard::Ack(names)
    }

    /// A NACK is not a request to try again: the same bytes would be refused again, at once and for ever.
    fn on_nack(&mut self, answered: InFlight, message: &str) -> Heard {
        let resources = || {
            answered
                .sent
                .iter()
                .filter_map(|(name, version)| Some((name, version.as_ref()?)))
        };
        let mut words = blame::culprits(message, resources().map(|(name, _)| name));
        let named = !words.is_empty();
        if !named {
            words = resources()
                .map(|(name, _)| (name.clone(), blame::excerpt(message)))
                .collect();
            self.parked_at = Some(answered.snapshot.resources(self.ty).version().to_owned());
        }
        for (name, version) in resources() {
            if let Some(message) = words.get(name) {
                let refusal = Refusal {
                    version: version.clone(),
                    message: message.clone(),
                    named,
                };
                self.refusals.insert(name.clone(), refusal);
            }
        }
        let culprits = words.into_keys().collect();
        for name in answered.sent.into_keys() {
            self.unsettled.add(&name);
            if self.wants(&name) {
                self.held.insert(name, Held::Unknown);
            }
        }
        Heard::Nack {
            message: blame::excerpt(message),
            culprits,
            named,
        }
    }

    /// The next response, if there is something to say and it may be said now.
    pub fn next_response(
        &mut self,
        snapshot: &Arc<Snapshot>,
        gates: &Gates<'_>,
        nonce: impl FnOnce() -> String,
    ) -> Option<Response> {
        let resources = snapshot.resources(self.ty);
        if !self.started || self.in_flight.is_some() || self.is_parked(resources) {
            return None;
        }
        self.forget_settled(resources);
        let wanted = self.changed(resources);
        let gone = self.gone(resources);
        let nothing_held_back = wanted.is_empty() && gone.is_empty();
        let updates: Vec<_> = wanted
            .into_iter()
            .filter(|(_, resource)| (gates.may_send)(resource))
            .collect();
        let removed = if gates.may_remove { gone } else { vec![] };
        // "Nothing" may be said only if there is nothing: an Envoy that starts takes the first answer for complete.
        if updates.is_empty() && removed.is_empty() && !(self.owes_reply && nothing_held_back) {
            return None;
        }
        self.owes_reply = false;
        let nonce = nonce();
        let added = updates
            .iter()
            .map(|(name, resource)| (name.clone(), Some(resource.version().clone())));
        let sent = added
            .chain(removed.iter().map(|name| (name.clone(), None)))
            .collect();
        self.in_flight = Some(InFlight {
            nonce: nonce.clone(),
            sent,
            snapshot: snapshot.clone(),
        });
        Some(Response {
            ty: self.ty,
            nonce,
            resources: updates,
            removed,
        })
    }

    fn is_parked(&mut self, resources: &Resources) -> bool {
        self.parked_at.take_if(|version| version != resources.version());
        self.parked_at.is_some()
    }

    /// Names that may be unsettled.
    fn candidates(&self, resources: &Resources) -> Cow<'_, BTreeSet<ResourceName>> {
        match &self.unsettled {
            Unsettled::These(names) => Cow::Borrowed(names),
            Unsettled::All => {
                let offered = resources.iter().map(|(name, _)| name).filter(|_| self.wildcard);
                let names = offered.chain(self.held.keys()).chain(&self.names);
                Cow::Owned(names.cloned().collect())
            }
        }
    }

    /// What is as it should be needs no look again before something happens to it.
    fn forget_settled(&mut self, resources: &Resources) {
        let mut names = self.candidates(resources).into_owned();
        names.retain(|name| !self.is_as_offered(name, resources));
        self.unsettled = Unsettled::These(names);
    }

    /// Whether the client certainly has of this what it should.
    fn is_as_offered(&self, name: &ResourceName, resources: &Resources) -> bool {
        match (
            resources.get(name).filter(|_| self.wants(name)),
            self.held.get(name),
        ) {
            (Some(resource), Some(Held::At(version))) => resource.version() == version,
            (None, Some(Held::Absent)) => true,
            (None, None) => !self.names.contains(name),
            (Some(_), Some(Held::Unknown | Held::Absent) | None)
            | (None, Some(Held::At(_) | Held::Unknown)) => false,
        }
    }

    /// What the client lacks or has in another version.
    fn changed(&self, resources: &Resources) -> Vec<(ResourceName, Arc<Resource>)> {
        let missing = |name: &ResourceName, resource: &Resource| {
            self.wants(name)
                && !self.holds_exactly(name, resource.version())
                && !self.withheld(name, resource)
        };
        let names = self.candidates(resources);
        let offered = names.iter().filter_map(|name| Some((name, resources.get(name)?)));
        offered
            .filter(|(name, resource)| missing(name, resource))
            .map(|(name, resource)| (name.clone(), resource.clone()))
            .collect()
    }

    /// What the client has, or asked for, and does not exist (any more).
    fn gone(&self, resources: &Resources) -> Vec<ResourceName> {
        // "When a resource subscribed to by a client does not exist, the server will send a DeltaDiscoveryResponse
        // message that contains that resource's name in the removed_resources field."
        let counts_on = |name: &ResourceName| match self.held.get(name) {
            Some(held) => *held != Held::Absent,
            None => self.names.contains(name),
        };
        let names = self.candidates(resources);
        let gone = names
            .iter()
            .filter(|name| counts_on(name) && resources.get(name).is_none());
        gone.cloned().collect()
    }

    fn withheld(&self, name: &ResourceName, resource: &Resource) -> bool {
        self.refusals
            .get(name)
            .is_some_and(|refusal| refusal.named && refusal.version == *resource.version())
    }

    fn wants(&self, name: &ResourceName) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether the client has said that it holds exactly this version.
    pub fn holds_exactly(&self, name: &ResourceName, version: &Version) -> bool {
        matches!(self.held.get(name), Some(Held::At(held)) if held == version)
    }

    /// Whether the client certainly holds this resource, at whatever version, and is not about to lose it.
    pub fn holds(&self, name: &ResourceName) -> bool {
        let sent = self
            .in_flight
            .as_ref()
            .and_then(|in_flight| in_flight.sent.get(name));
        let being_removed = sent.is_some_and(Option::is_none);
        matches!(self.held.get(name), Some(Held::At(_))) && !being_removed
    }

    /// Names of resources in the response that was not answered yet.
    pub fn on_their_way(&self) -> impl Iterator<Item = &ResourceName> {
        let sent = self.in_flight.iter().flat_map(|in_flight| &in_flight.sent);
        sent.filter(|(_, version)| version.is_some())
            .map(|(name, _)| name)
    }

    /// Whether the client may hold this resource.
    pub fn may_hold(&self, name: &ResourceName) -> bool {
        matches!(self.held.get(name), Some(Held::At(_) | Held::Unknown))
    }

    /// Whether the client holds nothing but current resources: nothing outdated, nothing that is gone, nothing on
    /// its way. Resources it does not hold yet do not matter.
    pub fn holds_only_current(&self, resources: &Resources) -> bool {
        let is_current = |name: &ResourceName| match self.held.get(name) {
            Some(Held::At(version)) => resources
                .get(name)
                .is_some_and(|resource| resource.version() == version),
            Some(Held::Unknown) => false,
            Some(Held::Absent) | None => true,
        };
        self.in_flight.is_none() && self.candidates(resources).iter().all(is_current)
    }

    /// Whether there is nothing to send, nothing on its way and nothing refused.
    pub fn is_settled(&self, resources: &Resources) -> bool {
        self.in_flight.is_none() && self.changed(resources).is_empty() && self.gone(resources).is_empty()
    }

    /// Whether the client refused this resource as it is.
    pub fn refusal(&self, name: &ResourceName, resource: &Resource) -> Option<&Refusal> {
        self.refusals
            .get(name)
            .filter(|refusal| refusal.version == *resource.version())
    }
}
