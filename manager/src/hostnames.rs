//! Which load balancer holds which host name, over all tenants. Pure.
//!
//! Names below a domain that several tenants share, and explicit names within domains that overlap, can be wanted twice.
//! Who has a name keeps it: the hub Service is the record, which tenants cannot write. A name that nobody has goes to
//! the oldest load balancer that wants it. A generated name has a second form, for those whose first form is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use api::names::{MAX_LABEL, identity_hash};
use api::v1alpha1::load_balancer_condition as reason;
use api::v1alpha1::{LoadBalancer, LoadBalancerType};
use api::{domain, meta};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use crate::build::hub_service;
use crate::settings::TenantSettings;

/// Characters of the hash in the second form of a generated name: 40 bits.
const HASH_CHARS: usize = 8;

/// One tenant with its load balancers.
#[derive(Debug, Clone)]
pub struct Claimant<'a> {
    /// Its namespace on the hub.
    pub namespace: &'a str,
    /// What holds for it.
    pub settings: &'a TenantSettings,
    /// All its load balancers.
    pub load_balancers: &'a [Arc<LoadBalancer>],
    /// Its hub Services, wherever they are: the record of the names that were given. A load balancer has two while it goes
    /// to the fleet of all tenants, or comes from it.
    pub services: &'a [Arc<Service>],
}

/// Host name to namespace and name of its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostnameTable(BTreeMap<String, (String, String)>);

/// Why a host name that was asked for is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Reason of the condition.
    pub reason: &'static str,
    /// A sentence for a person.
    pub message: String,
}

/// Oldest first; ties are broken by uid, so that the order never depends on when who was seen.
type Age = (Option<Timestamp>, String, String, String);

/// A load balancer with the names that would do for it, the best first.
struct Wish {
    age: Age,
    candidates: Vec<String>,
    /// What it had before.
    recorded: Option<String>,
}

impl Wish {
    fn holder(&self) -> (String, String) {
        let (_, _, namespace, name) = &self.age;
        (namespace.clone(), name.clone())
    }
}

/// Gives out host names: each to who has it, or else to the oldest load balancer that wants it.
#[must_use]
pub fn table<'a>(claimants: impl IntoIterator<Item = Claimant<'a>>) -> HostnameTable {
    let mut wishes: Vec<Wish> = claimants
        .into_iter()
        .flat_map(|claimant| wishes(&claimant))
        .collect();
    wishes.sort_by(|a, b| a.age.cmp(&b.age));
    let mut table = BTreeMap::new();
    let mut without = Vec::new();
    for wish in wishes {
        match wish.recorded.clone().filter(|name| !table.contains_key(name)) {
            Some(name) => drop(table.insert(name, wish.holder())),
            None => without.push(wish),
        }
    }
    for wish in without {
        let free = wish.candidates.iter().find(|name| !table.contains_key(*name));
        if let Some(name) = free.cloned() {
            table.insert(name, wish.holder());
        }
    }
    HostnameTable(table)
}

/// Only of those load balancers that may be served: names are not to be had beyond the limit.
fn wishes(claimant: &Claimant<'_>) -> Vec<Wish> {
    let Claimant {
        namespace,
        settings,
        load_balancers,
        services,
    } = claimant;
    if settings.load_balancer_disabled() {
        return Vec::new();
    }
    let mut eldest: Vec<(Age, &LoadBalancer)> = load_balancers
        .iter()
        .filter(|lb| lb.metadata.deletion_timestamp.is_none())
        .map(|lb| (age(namespace, lb), lb.as_ref()))
        .collect();
    eldest.sort_by(|(a, _), (b, _)| a.cmp(b));
    eldest.truncate(
        settings
            .limits
            .load_balancers
            .map_or(usize::MAX, |limit| limit as usize),
    );
    let records = records(services);
    let wish = |(age, lb): (Age, &LoadBalancer)| {
        let candidates = wanted(lb, settings).unwrap_or_default();
        let service = hub_service::name(namespace, &lb.name_any());
        let is_recorded = |name: &&String| records.contains(&(service.as_str(), name.as_str()));
        let recorded = candidates.iter().find(is_recorded).cloned();
        (!candidates.is_empty()).then_some(Wish {
            age,
            candidates,
            recorded,
        })
    };
    eldest.into_iter().filter_map(wish).collect()
}

fn age(namespace: &str, lb: &LoadBalancer) -> Age {
    let created = lb.metadata.creation_timestamp.as_ref().map(|t| t.0);
    (
        created,
        lb.uid().unwrap_or_default(),
        namespace.to_owned(),
        lb.name_any(),
    )
}

/// Names of hub Services, with the host names that they record.
fn records(services: &[Arc<Service>]) -> BTreeSet<(&str, &str)> {
    fn record(service: &Arc<Service>) -> Option<(&str, &str)> {
        let hostname = service.annotations().get(meta::HOSTNAME)?;
        Some((service.metadata.name.as_deref()?, hostname))
    }
    services.iter().filter_map(record).collect()
}

impl HostnameTable {
    fn is_held_by(&self, hostname: &str, lb: &LoadBalancer) -> bool {
        self.0.get(hostname).is_some_and(|(namespace, name)| {
            lb.metadata.namespace.as_ref() == Some(namespace) && lb.metadata.name.as_ref() == Some(name)
        })
    }

    /// Namespaces whose load balancers hold something else now.
    #[must_use]
    pub fn changed_namespaces(&self, other: &Self) -> BTreeSet<String> {
        let differing = |a: &Self, b: &Self| -> Vec<String> {
            let lost = a.0.iter().filter(|(name, holder)| b.0.get(*name) != Some(holder));
            lost.map(|(_, (namespace, _))| namespace.clone()).collect()
        };
        differing(self, other)
            .into_iter()
            .chain(differing(other, self))
            .collect()
    }
}

/// The host name in force for a load balancer.
///
/// # Errors
/// Why a name that was asked for is not used.
pub fn in_force(
    lb: &LoadBalancer,
    settings: &TenantSettings,
    table: &HostnameTable,
) -> Result<Option<String>, Refusal> {
    let candidates = wanted(lb, settings)?;
    let Some(best) = candidates.first() else {
        return Ok(None);
    };
    match candidates.iter().find(|name| table.is_held_by(name, lb)) {
        Some(held) => Ok(Some(held.clone())),
        None => Err(Refusal {
            reason: reason::REASON_HOSTNAME_CONFLICT,
            message: format!("host name {best:?} is not used: another load balancer has it"),
        }),
    }
}

/// The host names that would do for a load balancer, the best first; none where it shall have none.
///
/// # Errors
/// Why the name that was asked for may not be used.
pub fn wanted(lb: &LoadBalancer, settings: &TenantSettings) -> Result<Vec<String>, Refusal> {
    match lb.spec.hostname.as_deref().filter(|h| !h.is_empty()) {
        Some(asked) => explicit(asked, settings).map(|name| vec![name]),
        None => generated(lb, settings),
    }
}

fn explicit(asked: &str, settings: &TenantSettings) -> Result<String, Refusal> {
    let asked = asked.trim_end_matches('.').to_ascii_lowercase();
    let refuse = |reason, why: &str| {
        Err(Refusal {
            reason,
            message: format!("host name {asked:?} is not used: {why}"),
        })
    };
    if settings.dns.allow_explicit_hostnames != Some(true) {
        return refuse(
            reason::REASON_HOSTNAME_NOT_ALLOWED,
            "the tenant may not choose host names",
        );
    }
    if !is_hostname(&asked) || !domain::is_allowed(&asked, &settings.allowed_domains) {
        return refuse(
            reason::REASON_DOMAIN_NOT_ALLOWED,
            "it is not within the tenant's allowedDomains",
        );
    }
    Ok(asked)
}

/// Whether a load balancer shall have a generated name.
enum Request {
    /// It says so.
    Asked,
    /// It says nothing, and is the kind that has one.
    Usual,
    /// It says no, or it is by hand and inside the hub.
    No,
}

fn request(lb: &LoadBalancer) -> Request {
    let said = lb.annotations().get(meta::REQUEST_WILDCARD_DOMAIN);
    let says = |word: &str| said.is_some_and(|said| said.eq_ignore_ascii_case(word));
    if says("true") {
        Request::Asked
    } else if says("false") || lb.spec.type_ != LoadBalancerType::LoadBalancer {
        Request::No
    } else {
        Request::Usual
    }
}

/// Names below the hub's domain: after the tenant's Service, or after a load balancer by hand that asks for one.
fn generated(lb: &LoadBalancer, settings: &TenantSettings) -> Result<Vec<String>, Refusal> {
    let own = lb.metadata.name.as_ref();
    let service = lb.annotations().get(meta::ORIGIN_NAME);
    let domain = settings.dns.wildcard_domain.as_deref();
    let refuse = |reason, message: &str| {
        Err(Refusal {
            reason,
            message: message.to_owned(),
        })
    };
    let names = match (request(lb), domain) {
        (Request::No, _) | (Request::Usual, None) => return Ok(Vec::new()),
        (Request::Asked, None) => {
            return refuse(
                reason::REASON_NO_WILDCARD_DOMAIN,
                "no host name is made: the hub has no wildcardDomain for this tenant",
            );
        }
        (Request::Usual, Some(domain)) => return Ok(names_below(domain, service, lb)),
        (Request::Asked, Some(domain)) => names_below(domain, service.or(own), lb),
    };
    if names.is_empty() {
        return refuse(
            reason::REASON_HOSTNAME_NOT_ALLOWED,
            "no host name is made: the name is no DNS label",
        );
    }
    Ok(names)
}

/// `<name>.<domain>`, and the second form with a hash of whom it is for. None of a name with a dot: more than one label
/// would be a name below another tenant's.
fn names_below(domain: &str, name: Option<&String>, lb: &LoadBalancer) -> Vec<String> {
    let Some(label) = name.map(|name| name.to_ascii_lowercase()) else {
        return Vec::new();
    };
    let domain = domain.trim_start_matches("*.").to_ascii_lowercase();
    let hub_namespace = lb.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = lb.annotations().get(meta::ORIGIN_NAMESPACE).map(String::as_str);
    let mut hash = identity_hash(&["hostname", hub_namespace, namespace.unwrap_or_default(), &label]);
    hash.truncate(HASH_CHARS);
    let short: String = label.chars().take(MAX_LABEL - HASH_CHARS - 1).collect();
    let second = format!("{}-{hash}", short.trim_end_matches('-'));
    let labels = [label, second].into_iter().filter(|label| !label.contains('.'));
    labels
        .map(|label| format!("{label}.{domain}"))
        .filter(|name| is_hostname(name))
        .collect()
}

/// As Kubernetes takes it in the status of a Service.
fn is_hostname(name: &str) -> bool {
    name.parse::<l4_xds::Hostname>().is_ok() && !name.contains('_')
}

/// The table in force, shared by the controllers.
#[derive(Debug, Default)]
pub struct HostnamesCell(Mutex<Arc<HostnameTable>>);

impl HostnamesCell {
    /// The table in force.
    #[must_use]
    pub fn get(&self) -> Arc<HostnameTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another table in force.
    pub fn replace(&self, table: HostnameTable) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}

#[cfg(test)]
mod tests;
