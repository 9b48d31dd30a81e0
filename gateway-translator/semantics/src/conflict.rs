//! Listeners that cannot be told apart.
//!
//! Those of one object are all refused: the Gateway API forbids to pick a winner. Between a Gateway and its
//! ListenerSets the first in the order of precedence wins, and what it lost takes no port.

use std::collections::BTreeMap;

use api::v1alpha1::{Protocol, SharedListener};

use crate::kind::ListenerProtocol;
use crate::listener::JudgedListener;
use crate::reason::{self, Verdict};

/// Transport and number of a port.
type Port = (Protocol, i64);

/// What the objects before have taken, by port.
#[derive(Debug, Default)]
pub(crate) struct Taken(BTreeMap<Port, Vec<Claim>>);

/// What a listener takes of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    protocol: ListenerProtocol,
    hostname: String,
}

impl Claim {
    /// HTTPS and TLS share a port: the name that the client asks for tells them apart.
    fn family(&self) -> ListenerProtocol {
        match self.protocol {
            ListenerProtocol::Tls => ListenerProtocol::Https,
            other => other,
        }
    }

    /// Why the two cannot share a port.
    fn conflict(&self, other: &Self, port: i64) -> Option<Verdict> {
        if self.family() != other.family() {
            let message = format!("port {port} is used by listeners of different protocols");
            return Some(Verdict::new(reason::PROTOCOL_CONFLICT, message));
        }
        if matches!(self.protocol, ListenerProtocol::Tcp | ListenerProtocol::Udp) {
            let message = format!("port {port} is used by several listeners, and nothing tells them apart");
            return Some(Verdict::new(reason::PROTOCOL_CONFLICT, message));
        }
        (self.hostname == other.hostname).then(|| {
            let message = format!(
                "port {port} is used by several listeners with hostname {:?}",
                self.hostname
            );
            Verdict::new(reason::HOSTNAME_CONFLICT, message)
        })
    }
}

/// Marks the conflicts of one object's listeners with each other and with what was taken before. Listeners of
/// a protocol that is not served take no part, because they take no port.
pub(crate) fn mark(listeners: &mut [JudgedListener], taken: &mut Taken) {
    for listener in listeners.iter_mut() {
        let Some((port, claim)) = claim(listener) else {
            continue;
        };
        listener.conflict = first(&claim, taken.0.get(&port).into_iter().flatten(), port.1);
    }
    let rivals: Vec<Option<(Port, Claim)>> = listeners
        .iter()
        .map(|listener| claim(listener).filter(|_| listener.conflict.is_none()))
        .collect();
    for (position, listener) in listeners.iter_mut().enumerate() {
        let Some(Some((port, claim))) = rivals.get(position) else {
            continue;
        };
        let others = rivals.iter().enumerate().filter(|(other, _)| *other != position);
        let sharing = others
            .filter_map(|(_, rival)| rival.as_ref())
            .filter(|(other, _)| other == port);
        listener.conflict = first(claim, sharing.map(|(_, other)| other), port.1);
    }
    for (listener, rival) in listeners.iter().zip(rivals) {
        if let (None, Some((port, claim))) = (&listener.conflict, rival) {
            taken.0.entry(port).or_default().push(claim);
        }
    }
}

/// What a Gateway that the hub shares has taken, as far as the tenant may see it.
pub(crate) fn take_shared(listeners: &[SharedListener], taken: &mut Taken) {
    for listener in listeners {
        if let Some(protocol) = ListenerProtocol::from_name(&listener.protocol) {
            let port = (protocol.transport(), i64::from(listener.port.get()));
            let hostname = listener.hostname.as_deref().unwrap_or_default();
            taken.0.entry(port).or_default().push(Claim {
                protocol,
                hostname: hostname.to_ascii_lowercase(),
            });
        }
    }
}

fn claim(listener: &JudgedListener) -> Option<(Port, Claim)> {
    let protocol = listener.protocol?;
    let port = (protocol.transport(), listener.spec.port);
    let hostname = listener.spec.hostname.as_deref().unwrap_or_default();
    let claim = Claim {
        protocol,
        hostname: hostname.to_ascii_lowercase(),
    };
    Some((port, claim))
}

/// Different protocols are the greater trouble, whoever comes first.
fn first<'a>(claim: &Claim, others: impl Iterator<Item = &'a Claim>, port: i64) -> Option<Verdict> {
    let mut found: Option<Verdict> = None;
    for conflict in others.filter_map(|other| claim.conflict(other, port)) {
        if conflict.reason == reason::PROTOCOL_CONFLICT {
            return Some(conflict);
        }
        found = Some(conflict);
    }
    found
}
