//! Gives every Service of type LoadBalancer (without a class of its own) an address of each of its families, if that
//! has a pool, in its status, and takes them back when it is no longer one. Touches nothing but that status; decides
//! by `plan`, a pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::TryStreamExt;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// What can end the controller.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The API server could not be reached or said no.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The watch ended.
    #[error("the watch: {0}")]
    Watch(#[from] watcher::Error),
    /// There is no configuration for a client.
    #[error("no cluster to talk to: {0}")]
    NoCluster(#[from] kube::config::InferConfigError),
}

/// What `plan` looks at in a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    key: Key,
    /// Older Services come first.
    created: String,
    /// Of which families it shall have an address, in its order; none if it is not ours to serve.
    wants: Vec<Family>,
    /// The addresses in its status.
    has: Vec<IpAddr>,
    /// Addresses that it asks for in its spec: not ours to give, but not free either.
    external: Vec<IpAddr>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn named(name: &str) -> Option<Self> {
        match name {
            "IPv4" => Some(Self::Ipv4),
            "IPv6" => Some(Self::Ipv6),
            _ => None,
        }
    }

    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

/// Namespace and name.
type Key = (String, String);

/// What a Service's addresses shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    key: Key,
    addresses: Vec<IpAddr>,
}

/// Runs until the watch fails for good.
pub async fn serve(pools: &[IpNet]) -> Result<(), PoolError> {
    let client = Client::try_from(kube::Config::infer().await?)?;
    let services: Api<Service> = Api::all(client.clone());
    let mut events = Box::pin(watcher(services, watcher::Config::default()).default_backoff());
    let mut book = Book::new(pools);
    while let Some(event) = events.try_next().await? {
        if !book.note(event) {
            continue;
        }
        for change in plan(pools, &book.claims()) {
            if let Err(error) = apply(&client, &change).await {
                eprintln!("{change:?}: {error}");
                continue;
            }
            println!("{change:?}");
            book.done(&change);
        }
    }
    Ok(())
}

/// What is known of the Services, with our own writes counted before the watch shows them.
struct Book<'a> {
    pools: &'a [IpNet],
    known: BTreeMap<Key, Claim>,
    relisting: BTreeSet<Key>,
    complete: bool,
}

impl<'a> Book<'a> {
    fn new(pools: &'a [IpNet]) -> Self {
        Self {
            pools,
            known: BTreeMap::new(),
            relisting: BTreeSet::new(),
            complete: false,
        }
    }

    /// Takes in an event; says whether a plan can be made now.
    fn note(&mut self, event: watcher::Event<Service>) -> bool {
        match event {
            watcher::Event::Init => {
                self.complete = false;
                self.relisting = self.known.keys().cloned().collect();
            }
            watcher::Event::InitApply(service) | watcher::Event::Apply(service) => {
                let claim = claim(&service);
                self.relisting.remove(&claim.key);
                self.keep(claim);
            }
            watcher::Event::Delete(service) => {
                self.known.remove(&claim(&service).key);
            }
            watcher::Event::InitDone => {
                for gone in std::mem::take(&mut self.relisting) {
                    self.known.remove(&gone);
                }
                self.complete = true;
            }
        }
        self.complete
    }

    fn keep(&mut self, mut claim: Claim) {
        let before = self.known.get(&claim.key).filter(|b| b.created == claim.created);
        if let Some(before) = before.filter(|_| self.complete && claim.has.is_empty()) {
            let of_pools = before.has.iter().filter(|ip| is_in(self.pools, **ip));
            claim.has = of_pools.copied().collect();
        }
        self.known.insert(claim.key.clone(), claim);
    }

    fn done(&mut self, change: &Change) {
        if let Some(claim) = self.known.get_mut(&change.key) {
            claim.has.clone_from(&change.addresses);
        }
    }

    fn claims(&self) -> Vec<Claim> {
        self.known.values().cloned().collect()
    }
}

fn claim(service: &Service) -> Claim {
    let spec = service.spec.clone().unwrap_or_default();
    let status = service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref())
        .and_then(|l| l.ingress.as_ref());
    let parse = |ip: &String| ip.parse().ok();
    let families = spec.ip_families.as_ref().map_or_else(
        || vec![Family::Ipv4],
        |families| families.iter().filter_map(|name| Family::named(name)).collect(),
    );
    let is_ours = spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none();
    let leaving = service.metadata.deletion_timestamp.is_some();
    Claim {
        key: (service.namespace().unwrap_or_default(), service.name_any()),
        created: service
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|t| t.0.to_string())
            .unwrap_or_default(),
        wants: if is_ours && !leaving { families } else { Vec::new() },
        has: status
            .into_iter()
            .flatten()
            .filter_map(|ingress| ingress.ip.as_ref())
            .filter_map(parse)
            .collect(),
        external: spec
            .external_ips
            .unwrap_or_default()
            .iter()
            .filter_map(parse)
            .collect(),
    }
}

fn is_in(pools: &[IpNet], address: IpAddr) -> bool {
    pools.iter().any(|pool| pool.contains(&address))
}

/// Oldest first, each gets the lowest free address of each family that it wants; who has one of a pool keeps it.
fn plan(pools: &[IpNet], claims: &[Claim]) -> Vec<Change> {
    let mut claims: Vec<_> = claims.iter().collect();
    claims.sort_by(|a, b| (&a.created, &a.key).cmp(&(&b.created, &b.key)));
    let mut used: BTreeSet<IpAddr> = claims.iter().flat_map(|c| c.external.iter().copied()).collect();
    let kept: Vec<Vec<IpAddr>> = claims.iter().map(|claim| kept(pools, claim, &mut used)).collect();
    let mut changes = Vec::new();
    for (claim, kept) in claims.into_iter().zip(kept) {
        let address = |family: &Family| {
            let kept = kept.iter().copied().find(|ip| Family::of(*ip) == *family);
            kept.or_else(|| free(pools, *family, &mut used))
        };
        let addresses: Vec<IpAddr> = claim.wants.iter().filter_map(address).collect();
        let to_take = claim.wants.is_empty() && claim.has.iter().any(|ip| is_in(pools, *ip));
        if to_take || (!addresses.is_empty() && addresses != claim.has) {
            let key = claim.key.clone();
            changes.push(Change { key, addresses });
        }
    }
    changes
}

/// What a claim has by right, which is used from now on.
fn kept(pools: &[IpNet], claim: &Claim, used: &mut BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let wanted = |ip: &IpAddr| is_in(pools, *ip) && claim.wants.contains(&Family::of(*ip));
    let has = claim.has.iter().copied().filter(wanted);
    has.filter(|ip| used.insert(*ip)).collect()
}

/// The lowest free address of a family, which is used from now on. The first of an IPv6 range belongs to its routers
/// (RFC 4291, 2.6.1).
fn free(pools: &[IpNet], family: Family, used: &mut BTreeSet<IpAddr>) -> Option<IpAddr> {
    let of_family = |pool: &&IpNet| Family::of(pool.addr()) == family;
    let mut all = pools.iter().filter(of_family).flat_map(|pool| {
        let routers = pool.network();
        pool.hosts().filter(move |ip| *ip != routers)
    });
    let found = all.find(|ip| !used.contains(ip))?;
    used.insert(found);
    Some(found)
}

async fn apply(client: &Client, change: &Change) -> Result<(), kube::Error> {
    let Change { key, addresses } = change;
    let ingress = addresses.iter();
    let ingress: Vec<_> = ingress
        .map(|ip| json!({"ip": ip.to_string(), "ipMode": "VIP"}))
        .collect();
    let ingress = match ingress.is_empty() {
        true => Value::Null,
        false => Value::Array(ingress),
    };
    let services: Api<Service> = Api::namespaced(client.clone(), &key.0);
    let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}});
    match services
        .patch_status(&key.1, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        // It is gone: nothing is left to write.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        answer => answer.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim_of(name: &str, created: u8, wants: &[Family], has: &[&str]) -> Claim {
        Claim {
            key: ("ns".to_owned(), name.to_owned()),
            created: created.to_string(),
            wants: wants.to_vec(),
            has: has.iter().filter_map(|ip| ip.parse().ok()).collect(),
            external: Vec::new(),
        }
    }

    const IPV4: &[Family] = &[Family::Ipv4];

    fn planned(claims: &[Claim]) -> Vec<String> {
        let pools: Vec<IpNet> = ["10.0.0.0/29", "fd00::/125"]
            .iter()
            .filter_map(|pool| pool.parse().ok())
            .collect();
        let show = |change: &Change| {
            let addresses: Vec<_> = change.addresses.iter().map(ToString::to_string).collect();
            format!("{}={}", change.key.1, addresses.join(","))
        };
        plan(&pools, claims).iter().map(show).collect()
    }

    #[test]
    fn the_oldest_gets_the_lowest_free_address() {
        let claims = [
            claim_of("b", 2, IPV4, &[]),
            claim_of("a", 3, IPV4, &[]),
            claim_of("c", 1, IPV4, &["10.0.0.2"]),
        ];
        assert_eq!(planned(&claims), ["b=10.0.0.1", "a=10.0.0.3"]);
    }

    #[test]
    fn a_settled_book_needs_nothing() {
        assert!(planned(&[claim_of("a", 1, IPV4, &["10.0.0.5"]), claim_of("b", 1, &[], &[])]).is_empty());
    }

    #[test]
    fn an_address_is_taken_back_but_foreign_ones_are_left() {
        let claims = [
            claim_of("a", 1, &[], &["10.0.0.1"]),
            claim_of("b", 1, &[], &["192.0.2.1"]),
        ];
        assert_eq!(planned(&claims), ["a="]);
    }

    #[test]
    fn of_two_with_one_address_the_older_keeps_it() {
        let claims = [
            claim_of("a", 2, IPV4, &["10.0.0.1"]),
            claim_of("b", 1, IPV4, &["10.0.0.1"]),
        ];
        assert_eq!(planned(&claims), ["a=10.0.0.2"]);
    }

    #[test]
    fn asked_for_addresses_are_not_given_to_others() {
        let mut asker = claim_of("a", 1, IPV4, &[]);
        asker.external = vec![IpAddr::from([10, 0, 0, 1])];
        assert_eq!(planned(&[asker]), ["a=10.0.0.2"]);
    }

    #[test]
    fn an_empty_pool_gives_nothing_and_does_not_fail() {
        let claims: Vec<_> = (0..8).map(|i| claim_of(&format!("s{i}"), i, IPV4, &[])).collect();
        assert_eq!(planned(&claims).len(), 6);
    }

    #[test]
    fn a_service_gets_an_address_of_each_family_in_its_order_and_keeps_what_it_has() {
        let both = &[Family::Ipv6, Family::Ipv4];
        let claims = [
            claim_of("a", 1, both, &["10.0.0.3"]),
            claim_of("b", 2, &[Family::Ipv6], &[]),
            claim_of("c", 3, both, &["fd00::5", "10.0.0.4"]),
        ];
        assert_eq!(planned(&claims), ["a=fd00::1,10.0.0.3", "b=fd00::2"]);
    }

    #[test]
    fn an_address_of_a_family_that_is_no_longer_wanted_is_taken_back() {
        let claims = [claim_of("a", 1, IPV4, &["10.0.0.1", "fd00::1"])];
        assert_eq!(planned(&claims), ["a=10.0.0.1"]);
    }
}
