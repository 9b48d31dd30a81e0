//! Who holds which host name on the hub's shared Gateways, over all tenants.
//!
//! One table for the whole hub; each tenant's translation reads it. What a tenant wants is asked only when something
//! changed that it is made from, and the table is made anew only when somebody wants something else, so that a tenant
//! whose routes change all the time costs the others nothing. What is wanted and who gets it is decided in
//! `gateway_translator`; nothing here looks into a Route.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::v1alpha1::{Config, Route, Tenant};
use gateway_translator::{ClaimTable, Wanted, grant};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::DynamicObject;

/// The table in force. Starts empty, which gives no host name to anybody.
#[derive(Debug, Default)]
pub struct ClaimsCell(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    table: Arc<ClaimTable>,
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    contender: Contender,
    wanted: Wanted,
}

/// A tenant with Routes on shared Gateways, and what its wishes are made from.
#[derive(Debug, Clone)]
pub struct Contender {
    /// The tenant's namespace on the hub.
    pub namespace: String,
    /// What its settings are made from.
    pub basis: Basis,
    /// Its Routes on shared Gateways.
    pub routes: Vec<Arc<Route>>,
}

/// What a tenant's settings are made from, for comparison: objects of which nothing changed are the same in memory.
#[derive(Debug, Clone)]
pub struct Basis {
    /// What is so for all tenants.
    pub hub: Arc<HubBasis>,
    /// The Tenant.
    pub tenant: Option<Arc<Tenant>>,
    /// Its namespace.
    pub namespace: Option<Arc<Namespace>>,
}

/// What the settings of all tenants are made from.
#[derive(Debug, Clone, Default)]
pub struct HubBasis {
    /// The Config.
    pub config: Option<Arc<Config>>,
    /// Gateways that are not in a tenant's namespace.
    pub gateways: Vec<Arc<DynamicObject>>,
    /// GatewayClasses.
    pub classes: Vec<Arc<DynamicObject>>,
}

impl ClaimsCell {
    /// The table in force.
    #[must_use]
    pub fn get(&self) -> Arc<ClaimTable> {
        self.lock().table.clone()
    }

    /// Takes in who there is, and gives back the namespaces that hold something else than before.
    ///
    /// `contenders` looks while nobody else may, so that who looked earlier never has the last word. It is given the
    /// last [`HubBasis`], to give it back where it is still so. `ask` says what one of them wants.
    pub fn refresh(
        &self,
        contenders: impl FnOnce(Option<&Arc<HubBasis>>) -> Vec<Contender>,
        ask: impl Fn(&Contender) -> Wanted,
    ) -> BTreeSet<String> {
        let mut state = self.lock();
        let hub = (state.known.values().next()).map(|known| known.contender.basis.hub.clone());
        let mut before = std::mem::take(&mut state.known);
        let mut is_other = false;
        for contender in contenders(hub.as_ref()) {
            let known = before.remove(&contender.namespace);
            let wanted = match &known {
                Some(known) if known.contender.is_same(&contender) => known.wanted.clone(),
                _ => ask(&contender),
            };
            is_other |= known.map_or_else(Wanted::default, |known| known.wanted) != wanted;
            let namespace = contender.namespace.clone();
            state.known.insert(namespace, Known { contender, wanted });
        }
        is_other |= before.values().any(|gone| gone.wanted != Wanted::default());
        if !is_other {
            return BTreeSet::new();
        }
        let table = grant(state.known.values().map(|known| &known.wanted));
        let changed = state.table.changed_namespaces(&table);
        state.table = Arc::new(table);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contender {
    fn is_same(&self, other: &Self) -> bool {
        let Self {
            namespace,
            basis,
            routes,
        } = self;
        *namespace == other.namespace && basis.is_same(&other.basis) && are_same(routes, &other.routes)
    }
}

impl Basis {
    fn is_same(&self, other: &Self) -> bool {
        let Self {
            hub,
            tenant,
            namespace,
        } = self;
        (Arc::ptr_eq(hub, &other.hub) || hub.is_same(&other.hub))
            && is_same(tenant.as_ref(), other.tenant.as_ref())
            && is_same(namespace.as_ref(), other.namespace.as_ref())
    }
}

impl HubBasis {
    /// Whether nothing is another object.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self {
            config,
            gateways,
            classes,
        } = self;
        is_same(config.as_ref(), other.config.as_ref())
            && are_same(gateways, &other.gateways)
            && are_same(classes, &other.classes)
    }
}

fn is_same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

fn are_same<T>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc;
    use std::time::Duration;

    use api::v1alpha1::{GatewayReference, SharedGateway};
    use gateway_translator::{Claimant, Settings, wanted};
    use serde_json::json;

    use super::*;

    fn route(name: &str, created: u8, host: &str) -> Arc<Route> {
        let uid = format!("uid-{name}");
        let resource = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"namespace": "shop", "name": name, "uid": uid, "generation": 1},
            "spec": {"hostnames": [host]}});
        let route = json!({
            "metadata": {"name": uid, "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
            "spec": {"source": {"kubernetes": {"resource": resource}},
                "origin": {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop",
                    "name": name, "uid": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
                "parents": [{"scope": "Hub", "namespace": "shared", "name": "gate", "listeners": ["http"]}]}});
        Arc::new(serde_json::from_value(route).unwrap())
    }

    fn contender(namespace: &str, routes: Vec<Arc<Route>>) -> Contender {
        let basis = Basis {
            hub: Arc::default(),
            tenant: None,
            namespace: None,
        };
        Contender {
            namespace: namespace.to_owned(),
            basis,
            routes,
        }
    }

    fn ask(contender: &Contender) -> Wanted {
        let gate = SharedGateway {
            namespace: "shared".into(),
            name: "gate".into(),
            ..SharedGateway::default()
        };
        let settings = Settings {
            allowed_domains: vec!["**".into()],
            shared_gateways: vec![gate],
            ..Settings::default()
        };
        wanted(Claimant {
            namespace: &contender.namespace,
            settings: &settings,
            routes: &contender.routes,
        })
    }

    fn holds(cell: &ClaimsCell, namespace: &str, host: &str) -> bool {
        let gate = GatewayReference {
            namespace: "shared".into(),
            name: "gate".into(),
        };
        cell.get().holds(namespace, &gate, host)
    }

    #[test]
    fn only_a_tenant_of_whom_something_changed_is_asked_what_it_wants() {
        let cell = ClaimsCell::default();
        let asked = RefCell::new(Vec::new());
        let mut all = vec![
            contender("tenant-a", vec![route("a", 1, "a.example.com")]),
            contender("tenant-b", vec![route("b", 2, "b.example.com")]),
        ];
        let refresh = |all: &[Contender]| {
            let noted = |contender: &Contender| {
                asked.borrow_mut().push(contender.namespace.clone());
                ask(contender)
            };
            let changed = cell.refresh(|_| all.to_vec(), noted);
            (asked.take(), changed.into_iter().collect::<Vec<_>>())
        };
        let both = || vec!["tenant-a".to_owned(), "tenant-b".to_owned()];
        assert_eq!(refresh(&all), (both(), both()));
        assert_eq!(refresh(&all), (vec![], vec![]));
        let table = cell.get();

        // The Route is another object with the same host name.
        all[1].routes = vec![route("b", 2, "b.example.com")];
        assert_eq!(refresh(&all), (vec!["tenant-b".to_owned()], vec![]));
        assert!(Arc::ptr_eq(&table, &cell.get()), "nothing was decided anew");

        all[1].routes = vec![route("b", 2, "c.example.com")];
        assert_eq!(
            refresh(&all),
            (vec!["tenant-b".to_owned()], vec!["tenant-b".to_owned()])
        );

        let config = serde_json::from_value(json!({"metadata": {"name": "default"}, "spec": {}})).unwrap();
        let hub = Arc::new(HubBasis {
            config: Some(Arc::new(config)),
            ..HubBasis::default()
        });
        for contender in &mut all {
            contender.basis.hub = hub.clone();
        }
        assert_eq!(refresh(&all), (both(), vec![]));
    }

    #[test]
    fn who_takes_over_from_a_tenant_that_is_gone_is_told() {
        let cell = ClaimsCell::default();
        let first = contender("tenant-a", vec![route("a", 1, "x.example.com")]);
        let second = contender("tenant-b", vec![route("b", 2, "x.example.com")]);
        cell.refresh(|_| vec![first.clone(), second.clone()], ask);
        assert!(holds(&cell, "tenant-a", "x.example.com") && !holds(&cell, "tenant-b", "x.example.com"));
        let changed = cell.refresh(|_| vec![second], ask);
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["tenant-a", "tenant-b"]);
        assert!(holds(&cell, "tenant-b", "x.example.com"));
    }

    #[test]
    fn who_looked_earlier_does_not_have_the_last_word() {
        let cell = Arc::new(ClaimsCell::default());
        let (looked, has_looked) = mpsc::channel();
        let slow = std::thread::spawn({
            let cell = cell.clone();
            move || {
                let old = |_: Option<&Arc<HubBasis>>| {
                    looked.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(200));
                    vec![contender("tenant-a", vec![route("a", 1, "old.example.com")])]
                };
                cell.refresh(old, ask)
            }
        });
        has_looked.recv().unwrap();
        cell.refresh(
            |_| vec![contender("tenant-a", vec![route("a", 1, "new.example.com")])],
            ask,
        );
        slow.join().unwrap();
        assert!(holds(&cell, "tenant-a", "new.example.com"));
    }
}
