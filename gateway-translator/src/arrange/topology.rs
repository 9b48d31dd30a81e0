//! The listeners of all Gateways that are served, and which of two listeners has a host.

use std::collections::BTreeMap;

use api::v1alpha1::SharedGateway;

use crate::domain::hostname::covers;
use crate::output::{Kind, ObjectKey};
use crate::target::attachment::Attachment;
use crate::target::listeners::{ListenerProtocol, ServedListener};

/// A listener, with where it is written and on which Gateway it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) at: Attachment,
    pub(crate) gateway: ObjectKey,
    pub(crate) listener: ServedListener,
}

/// All listeners.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    all: BTreeMap<Attachment, Placed>,
    ports: BTreeMap<(ObjectKey, u16), Vec<Attachment>>,
}

impl Topology {
    /// Adds what is known of the Gateways that tenants share.
    pub(crate) fn with_shared(shared: &[SharedGateway]) -> Self {
        let mut topology = Self::default();
        for gateway in shared {
            let key = ObjectKey::new(Kind::Gateway, &gateway.namespace, &gateway.name);
            for listener in &gateway.listeners {
                let Some(protocol) = ListenerProtocol::parse(&listener.protocol) else {
                    continue;
                };
                let served = ServedListener {
                    name: listener.name.clone(),
                    port: listener.port.get(),
                    protocol,
                    hostname: listener.hostname.clone(),
                };
                topology.add(&key, &key, &served);
            }
        }
        topology
    }

    /// Adds a listener that `owner` has on `gateway`.
    pub(crate) fn add(&mut self, owner: &ObjectKey, gateway: &ObjectKey, listener: &ServedListener) {
        let at = Attachment {
            owner: owner.clone(),
            listener: listener.name.clone(),
        };
        let placed = Placed {
            at: at.clone(),
            gateway: gateway.clone(),
            listener: listener.clone(),
        };
        if self.all.insert(at.clone(), placed).is_none() {
            let port = (gateway.clone(), listener.port);
            self.ports.entry(port).or_default().push(at);
        }
    }

    /// A listener that is served.
    pub(crate) fn get(&self, at: &Attachment) -> Option<&Placed> {
        self.all.get(at)
    }

    /// Listeners of one Gateway, its own and those of its ListenerSets, in the order of their names.
    pub(crate) fn of_gateway<'t>(&'t self, gateway: &'t ObjectKey) -> impl Iterator<Item = &'t Placed> {
        self.all.values().filter(move |placed| placed.gateway == *gateway)
    }

    /// Host names within a listener's that belong to other listeners of its port, because those name them more
    /// exactly: Envoy takes a connection for them there.
    pub(crate) fn owned_by_others<'t>(&'t self, placed: &'t Placed) -> impl Iterator<Item = &'t str> {
        let Placed {
            at,
            gateway,
            listener,
        } = placed;
        let port = self.ports.get(&(gateway.clone(), listener.port));
        let others = port.into_iter().flatten().filter(move |other| *other != at);
        others
            .filter_map(|other| self.all.get(other))
            .map(|other| &other.listener)
            .filter(move |other| listener.protocol.shares_port_with(other.protocol))
            .filter_map(|other| other.hostname.as_deref())
            .filter(move |name| {
                let own = listener.hostname.as_deref();
                own != Some(*name) && covers(own, Some(name))
            })
    }

    /// True where another listener of the port has this host.
    pub(crate) fn is_owned_by_others(&self, placed: &Placed, host: &str) -> bool {
        self.owned_by_others(placed)
            .any(|name| covers(Some(name), Some(host)))
    }
}
