//! What LoadBalancers came to when they were looked at last, so that one that changed costs one assessment and not one
//! for each of its tenant's.
//!
//! It decides nothing: what is remembered is what would be found again.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::v1alpha1::{Addresses, LoadBalancer};
use controller_kit::watch::List;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::{LoadBalancerId, Settings};

use super::assess::{Assessed, Inputs, View, beyond_limit};
use super::previous::Previous;
use crate::build::hub_service;
use crate::settings::TenantSettings;

/// Of one namespace.
#[derive(Debug, Default)]
pub struct Assessments {
    common: Option<Common>,
    load_balancers: List<LoadBalancer>,
    services: List<Service>,
    global_services: Vec<Arc<Service>>,
    /// In the order of names.
    all: Vec<Remembered>,
    /// The same, as it was given out.
    given: Arc<Vec<Arc<Assessed>>>,
}

/// What all of a namespace depend on.
#[derive(Debug)]
struct Common {
    namespace: String,
    settings: TenantSettings,
    addresses: Vec<Arc<Addresses>>,
    translation: Settings,
}

#[derive(Debug)]
struct Remembered {
    /// Name of its hub Service.
    service_name: String,
    is_beyond_limit: bool,
    assessed: Arc<Assessed>,
}

impl Assessments {
    /// What the LoadBalancers of `view` come to, in the order of names. The very same again, where nothing has changed.
    pub fn of(&mut self, view: &View) -> Arc<Vec<Arc<Assessed>>> {
        let Some(settings) = &view.settings else {
            *self = Self::default();
            return Arc::default();
        };
        if !(self.common.as_ref()).is_some_and(|common| common.is_of(view, settings)) {
            *self = Self {
                common: Some(Common::of(view, settings)),
                ..Self::default()
            };
        } else if self.is_of(view) {
            return Arc::clone(&self.given);
        }
        self.assess(view, settings);
        self.load_balancers = Arc::clone(&view.load_balancers);
        let all = self.all.iter();
        self.given = Arc::new(all.map(|remembered| Arc::clone(&remembered.assessed)).collect());
        Arc::clone(&self.given)
    }

    fn is_of(&self, view: &View) -> bool {
        Arc::ptr_eq(&self.load_balancers, &view.load_balancers)
            && Arc::ptr_eq(&self.services, &view.services)
            && are_same(&self.global_services, &view.global_services)
    }

    fn assess(&mut self, view: &View, settings: &TenantSettings) {
        let staying = view.staying();
        let shared = Shared {
            settings,
            translation: &view.translation,
            addresses: (view.addresses.iter())
                .map(|addresses| (addresses.name_any(), addresses.as_ref()))
                .collect(),
            services: Services::of(&self.services, &view.services),
            global_services: Services::of(&self.global_services, &view.global_services),
            beyond: beyond_limit(&staying, settings),
        };
        let mut before = Previous::of(std::mem::take(&mut self.all));
        self.all.reserve(staying.len());
        for lb in staying {
            let name = lb.metadata.name.as_deref().unwrap_or_default();
            // Most are the very same, which is seen without reading names.
            let compare = |old: &Remembered| match Arc::ptr_eq(&old.assessed.load_balancer, lb) {
                true => Ordering::Equal,
                false => old.assessed.id.name().cmp(name),
            };
            let remembered = match before.take_by(compare) {
                Some(known) => {
                    let now = shared.inputs(lb, &known.service_name, Some(&known.assessed));
                    let other = (!known.is_of(&now)).then(|| known.another(&now));
                    other.unwrap_or(known)
                }
                None => {
                    let service_name = hub_service::name(&view.namespace, name);
                    match LoadBalancerId::new(view.namespace.as_str(), name) {
                        Ok(id) => {
                            Remembered::of(id, &shared.inputs(lb, &service_name, None), service_name.clone())
                        }
                        Err(_) => continue,
                    }
                }
            };
            self.all.push(remembered);
        }
        self.services = Arc::clone(&view.services);
        self.global_services.clone_from(&view.global_services);
    }
}

/// What all LoadBalancers of a run are assessed by.
struct Shared<'a> {
    settings: &'a TenantSettings,
    translation: &'a Settings,
    addresses: BTreeMap<String, &'a Addresses>,
    services: Services<'a>,
    global_services: Services<'a>,
    beyond: BTreeSet<&'a str>,
}

impl Shared<'_> {
    /// `old` is what was found the last time.
    fn inputs<'a>(
        &'a self,
        load_balancer: &'a Arc<LoadBalancer>,
        service_name: &str,
        old: Option<&'a Assessed>,
    ) -> Inputs<'a> {
        let name = load_balancer.metadata.name.as_deref().unwrap_or_default();
        let service = old.map(|old| old.service.as_ref());
        let global_service = old.map(|old| old.global_service.as_ref());
        Inputs {
            settings: self.settings,
            addresses: &self.addresses,
            translation: self.translation,
            load_balancer,
            service: self.services.get(service_name, service),
            global_service: self.global_services.get(service_name, global_service),
            is_beyond_limit: self.beyond.contains(name),
        }
    }
}

/// Hub Services.
struct Services<'a> {
    all: &'a [Arc<Service>],
    /// The very same as before: each LoadBalancer that was there has that of before.
    are_same: bool,
    by_name: OnceCell<HashMap<&'a str, &'a Arc<Service>>>,
}

impl<'a> Services<'a> {
    fn of(known: &[Arc<Service>], all: &'a [Arc<Service>]) -> Self {
        Self {
            all,
            are_same: are_same(known, all),
            by_name: OnceCell::new(),
        }
    }

    /// The one of this name. `before` is what that was the last time, for a LoadBalancer that was there.
    fn get<'b>(&'b self, name: &str, before: Option<Option<&'b Arc<Service>>>) -> Option<&'b Arc<Service>> {
        if let Some(before) = before.filter(|_| self.are_same) {
            return before;
        }
        let by_name = self.by_name.get_or_init(|| {
            let named = self.all.iter();
            let named = named.filter_map(|service| Some((service.metadata.name.as_deref()?, service)));
            named.collect()
        });
        by_name.get(name).copied()
    }
}

/// The very same objects, in the same order.
pub(super) fn are_same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    std::ptr::eq(one, other)
        || one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

impl Common {
    fn of(view: &View, settings: &TenantSettings) -> Self {
        Self {
            namespace: view.namespace.clone(),
            settings: settings.clone(),
            addresses: view.addresses.clone(),
            translation: view.translation,
        }
    }

    fn is_of(&self, view: &View, settings: &TenantSettings) -> bool {
        let Self {
            namespace,
            settings: known,
            addresses,
            translation,
        } = self;
        *namespace == view.namespace
            && are_same(addresses, &view.addresses)
            && *translation == view.translation
            && known == settings
    }
}

impl Remembered {
    fn of(id: LoadBalancerId, inputs: &Inputs<'_>, service_name: String) -> Self {
        Self {
            service_name,
            is_beyond_limit: inputs.is_beyond_limit,
            assessed: Arc::new(Assessed::of(id, inputs)),
        }
    }

    fn another(&self, inputs: &Inputs<'_>) -> Self {
        Self::of(self.assessed.id.clone(), inputs, self.service_name.clone())
    }

    /// Whether nothing of what it was assessed by is another one.
    fn is_of(&self, inputs: &Inputs<'_>) -> bool {
        let Assessed {
            load_balancer,
            service,
            global_service,
            ..
        } = self.assessed.as_ref();
        is_same::<LoadBalancer>(Some(load_balancer), Some(inputs.load_balancer))
            && is_same(service.as_ref(), inputs.service)
            && is_same(global_service.as_ref(), inputs.global_service)
            && self.is_beyond_limit == inputs.is_beyond_limit
    }
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
