//! Frontends to Envoy resources. Pure: the same frontends give the same bytes, in whatever order they are listed.
//!
//! It does not choose ports and does not judge whether a backend address is allowed; both are decided before.

mod cluster;
mod endpoint;
mod health;
mod listener;
mod proxy_protocol;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::google::protobuf;
use prost::{Message, Name};

use crate::ir::{Frontend, Listener, LoadBalancerId, Port, Protocol};
use crate::ports::{Taken, envoy};
use crate::snapshot::{Part, Resource, ResourceName, ResourceType, Snapshot};

/// Which addresses Envoy's listeners bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bind {
    /// `::` for both families. Works wherever the kernel has IPv6, also in pods that have no IPv6 address.
    #[default]
    DualStack,
    /// `0.0.0.0`, for hosts booted with IPv6 switched off, where binding `::` fails.
    Ipv4Only,
}

impl Bind {
    pub(crate) const fn address(self) -> &'static str {
        match self {
            Self::DualStack => "::",
            Self::Ipv4Only => "0.0.0.0",
        }
    }
}

/// What holds for all frontends of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Listener addresses.
    pub bind: Bind,
}

/// Why a frontend was left out of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Omission {
    /// Its recorded port belongs to Envoy itself.
    #[error("Envoy's own port {port} cannot be used")]
    ReservedPort {
        /// The port.
        port: Port,
    },
    /// Another load balancer, or another port of the same one, has that port.
    #[error("{protocol} port {port} of Envoy is already taken by {holder}")]
    PortTaken {
        /// The port.
        port: Port,
        /// Its protocol.
        protocol: Protocol,
        /// Who has it.
        holder: LoadBalancerId,
    },
    /// The same port number and protocol appears twice in it.
    #[error("{protocol} port {port} is listed twice")]
    ListedTwice {
        /// The Service's port.
        port: Port,
        /// Its protocol.
        protocol: Protocol,
    },
    /// Two frontends claim to be the same load balancer.
    #[error("the load balancer is described twice")]
    DescribedTwice,
}

/// The result of translating a fleet's frontends.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// What to serve.
    pub snapshot: Snapshot,
    /// Who is not in it and why. One frontend that cannot be served never keeps the others out.
    pub omitted: BTreeMap<LoadBalancerId, Omission>,
}

/// Translates all frontends of a fleet. Of two that cannot both be served, the one with the smaller id is.
pub fn translate<'a>(frontends: impl IntoIterator<Item = &'a Frontend>, settings: &Settings) -> Translation {
    let sorted: BTreeSet<&Frontend> = frontends.into_iter().collect();
    let mut admission = Admission::default();
    let mut parts = Vec::new();
    let mut omitted = BTreeMap::new();
    for frontend in sorted {
        match admission.admit(frontend) {
            Ok(()) => parts.push(Arc::new(part(frontend, settings))),
            Err(Omission::DescribedTwice) => {
                omitted
                    .entry(frontend.id.clone())
                    .or_insert(Omission::DescribedTwice);
            }
            Err(reason) => drop(omitted.insert(frontend.id.clone(), reason)),
        }
    }
    Translation {
        snapshot: Snapshot::assemble(parts),
        omitted,
    }
}

/// Who holds which port so far. Frontends come in the order of their ids.
#[derive(Debug, Default)]
pub struct Admission<'a> {
    last: Option<&'a LoadBalancerId>,
    taken: Taken,
    /// Those that were admitted. Read only to say who has a port.
    admitted: Vec<&'a Frontend>,
}

impl<'a> Admission<'a> {
    /// Whether `frontend` can be served beside those admitted before it; if so, its ports are taken.
    pub fn admit(&mut self, frontend: &'a Frontend) -> Result<(), Omission> {
        let id = &frontend.id;
        if self.last == Some(id) {
            return Err(Omission::DescribedTwice);
        }
        if let Some(listener) =
            (frontend.listeners.iter()).find(|l| envoy::RESERVED.contains(&l.envoy_port.get()))
        {
            let port = listener.envoy_port;
            return Err(Omission::ReservedPort { port });
        }
        // Most have one listener, which has nothing beside it in its own frontend.
        if frontend.listeners.len() > 1 {
            listed_once(frontend)?;
        }
        for &Listener {
            protocol, envoy_port, ..
        } in &frontend.listeners
        {
            if self.taken.contains(protocol, envoy_port.get()) {
                return Err(self.port_taken(protocol, envoy_port, id));
            }
        }
        for &Listener {
            protocol, envoy_port, ..
        } in &frontend.listeners
        {
            self.taken.insert(protocol, envoy_port.get());
        }
        self.admitted.push(frontend);
        self.last = Some(id);
        Ok(())
    }

    fn port_taken(&self, protocol: Protocol, port: Port, by: &LoadBalancerId) -> Omission {
        let has_it = |frontend: &&&Frontend| {
            let mut listeners = frontend.listeners.iter();
            listeners.any(|listener| (listener.protocol, listener.envoy_port) == (protocol, port))
        };
        let holder = self.admitted.iter().find(has_it);
        Omission::PortTaken {
            port,
            protocol,
            holder: holder.map_or(by, |holder| &holder.id).clone(),
        }
    }
}

/// Whether no listener of a frontend is in the way of another one of its own.
fn listed_once(frontend: &Frontend) -> Result<(), Omission> {
    let (mut listed, mut taken) = (Taken::default(), Taken::default());
    for &Listener {
        protocol,
        port,
        envoy_port,
        ..
    } in &frontend.listeners
    {
        if !listed.insert(protocol, port.get()) {
            return Err(Omission::ListedTwice { port, protocol });
        }
        if !taken.insert(protocol, envoy_port.get()) {
            return Err(Omission::PortTaken {
                port: envoy_port,
                protocol,
                holder: frontend.id.clone(),
            });
        }
    }
    Ok(())
}

/// Translates one frontend. The result depends on nothing else, so it can be kept until the frontend changes.
pub fn part(frontend: &Frontend, settings: &Settings) -> Part {
    let resources = frontend.listeners.iter().flat_map(|listener| {
        let name = resource_name(&frontend.id, listener);
        let owner = &frontend.id;
        let mut resources = vec![
            listener::resource(owner, &name, listener, settings),
            cluster::resource(owner, &name, listener),
        ];
        resources.extend(endpoint::resource(owner, &name, listener));
        resources
            .into_iter()
            .map(move |resource| (name.clone(), Arc::new(resource)))
    });
    Part::new(frontend.id.clone(), resources.collect())
}

/// `<namespace>/<name>/<protocol>/<service port>`. Injective, since no part can hold a slash, and free of everything
/// that may change while the port stays what it is (the port's name, the recorded port).
fn resource_name(id: &LoadBalancerId, listener: &Listener) -> ResourceName {
    ResourceName::from(format!("{id}/{}/{}", listener.protocol, listener.port))
}

fn resource<M: Message + Name>(
    ty: ResourceType,
    owner: &LoadBalancerId,
    message: &M,
    refers_to: Option<&ResourceName>,
) -> Resource {
    Resource::new(
        ty,
        owner.clone(),
        message,
        refers_to.cloned().into_iter().collect(),
    )
}

// Maps in protobuf messages are `HashMap`s here, whose order, and so whose bytes, change from run to run. None of the
// messages we fill has more than one entry in one; this is the place to remember it when a new field is set.
fn any<M: Message + Name>(message: &M) -> protobuf::Any {
    protobuf::Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

fn seconds(seconds: impl Into<u32>) -> Option<protobuf::Duration> {
    Some(protobuf::Duration {
        seconds: i64::from(seconds.into()),
        nanos: 0,
    })
}

const fn number(value: u32) -> Option<protobuf::UInt32Value> {
    Some(protobuf::UInt32Value { value })
}
