//! Gives every Service of type LoadBalancer (without a class of its own) an address of the pool, in its status, and
//! takes it back when it is no longer one. Touches nothing but that status; decides by `plan`, a pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use futures::TryStreamExt;
use ipnet::Ipv4Net;
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
    /// Whether it is ours to serve.
    wants: bool,
    /// The first address in its status.
    has: Option<Ipv4Addr>,
    /// Addresses that it asks for in its spec: not ours to give, but not free either.
    external: Vec<Ipv4Addr>,
}

/// Namespace and name.
type Key = (String, String);

/// What to do about a Service's address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Give(Key, Ipv4Addr),
    Take(Key),
}

/// Runs until the watch fails for good.
pub async fn serve(pool: Ipv4Net) -> Result<(), PoolError> {
    let client = Client::try_from(kube::Config::infer().await?)?;
    let services: Api<Service> = Api::all(client.clone());
    let mut events = Box::pin(watcher(services, watcher::Config::default()).default_backoff());
    let mut book = Book::new(pool);
    while let Some(event) = events.try_next().await? {
        if !book.note(event) {
            continue;
        }
        for change in plan(pool, &book.claims()) {
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
struct Book {
    pool: Ipv4Net,
    known: BTreeMap<Key, Claim>,
    relisting: BTreeSet<Key>,
    complete: bool,
}

impl Book {
    fn new(pool: Ipv4Net) -> Self {
        Self {
            pool,
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
        if claim.wants && claim.has.is_none() {
            claim.has = before
                .and_then(|b| b.has)
                .filter(|ip| self.pool.contains(ip) && self.complete);
        }
        self.known.insert(claim.key.clone(), claim);
    }

    fn done(&mut self, change: &Change) {
        let (key, has) = match change {
            Change::Give(key, ip) => (key, Some(*ip)),
            Change::Take(key) => (key, None),
        };
        if let Some(claim) = self.known.get_mut(key) {
            claim.has = has;
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
    let v4 = spec
        .ip_families
        .as_ref()
        .is_none_or(|families| families.iter().any(|f| f == "IPv4"));
    let leaving = service.metadata.deletion_timestamp.is_some();
    Claim {
        key: (service.namespace().unwrap_or_default(), service.name_any()),
        created: service
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|t| t.0.to_string())
            .unwrap_or_default(),
        wants: spec.type_.as_deref() == Some("LoadBalancer")
            && spec.load_balancer_class.is_none()
            && v4
            && !leaving,
        has: status
            .and_then(|ingress| ingress.first())
            .and_then(|i| i.ip.as_ref())
            .and_then(parse),
        external: spec
            .external_ips
            .unwrap_or_default()
            .iter()
            .filter_map(parse)
            .collect(),
    }
}

/// Oldest first, each gets the lowest free address; who has one of the pool keeps it.
fn plan(pool: Ipv4Net, claims: &[Claim]) -> Vec<Change> {
    let mut claims: Vec<_> = claims.iter().collect();
    claims.sort_by(|a, b| (&a.created, &a.key).cmp(&(&b.created, &b.key)));
    let mut used: BTreeSet<Ipv4Addr> = claims.iter().flat_map(|c| c.external.iter().copied()).collect();
    let (mut waiting, mut changes) = (Vec::new(), Vec::new());
    for claim in claims {
        match claim.has.filter(|ip| pool.contains(ip)) {
            Some(_) if !claim.wants => changes.push(Change::Take(claim.key.clone())),
            Some(ip) if used.insert(ip) => {}
            _ if claim.wants => waiting.push(claim),
            _ => {}
        }
    }
    let free = pool.hosts().filter(|ip| !used.contains(ip));
    changes.extend(
        waiting
            .iter()
            .zip(free)
            .map(|(claim, ip)| Change::Give(claim.key.clone(), ip)),
    );
    changes
}

async fn apply(client: &Client, change: &Change) -> Result<(), kube::Error> {
    let (key, ingress) = match change {
        Change::Give(key, ip) => (key, json!([{"ip": ip.to_string(), "ipMode": "VIP"}])),
        Change::Take(key) => (key, Value::Null),
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

    fn claim_of(name: &str, created: u8, wants: bool, has: Option<&str>) -> Claim {
        let has = has.and_then(|ip| ip.parse().ok());
        Claim {
            key: ("ns".to_owned(), name.to_owned()),
            created: created.to_string(),
            wants,
            has,
            external: Vec::new(),
        }
    }

    fn planned(claims: &[Claim]) -> Vec<String> {
        let Ok(pool) = "10.0.0.0/29".parse() else {
            return Vec::new();
        };
        let show = |change: &Change| match change {
            Change::Give((_, name), ip) => format!("{name}={ip}"),
            Change::Take((_, name)) => format!("{name}-"),
        };
        plan(pool, claims).iter().map(show).collect()
    }

    #[test]
    fn the_oldest_gets_the_lowest_free_address() {
        let claims = [
            claim_of("b", 2, true, None),
            claim_of("a", 3, true, None),
            claim_of("c", 1, true, Some("10.0.0.2")),
        ];
        assert_eq!(planned(&claims), ["b=10.0.0.1", "a=10.0.0.3"]);
    }

    #[test]
    fn a_settled_book_needs_nothing() {
        assert!(
            planned(&[
                claim_of("a", 1, true, Some("10.0.0.5")),
                claim_of("b", 1, false, None)
            ])
            .is_empty()
        );
    }

    #[test]
    fn an_address_is_taken_back_but_foreign_ones_are_left() {
        let claims = [
            claim_of("a", 1, false, Some("10.0.0.1")),
            claim_of("b", 1, false, Some("192.0.2.1")),
        ];
        assert_eq!(planned(&claims), ["a-"]);
    }

    #[test]
    fn of_two_with_one_address_the_older_keeps_it() {
        let claims = [
            claim_of("a", 2, true, Some("10.0.0.1")),
            claim_of("b", 1, true, Some("10.0.0.1")),
        ];
        assert_eq!(planned(&claims), ["a=10.0.0.2"]);
    }

    #[test]
    fn asked_for_addresses_are_not_given_to_others() {
        let mut asker = claim_of("a", 1, true, None);
        asker.external = vec![Ipv4Addr::new(10, 0, 0, 1)];
        assert_eq!(planned(&[asker]), ["a=10.0.0.2"]);
    }

    #[test]
    fn an_empty_pool_gives_nothing_and_does_not_fail() {
        let claims: Vec<_> = (0..8)
            .map(|i| claim_of(&format!("s{i}"), i, true, None))
            .collect();
        assert_eq!(planned(&claims).len(), 6);
    }
}
