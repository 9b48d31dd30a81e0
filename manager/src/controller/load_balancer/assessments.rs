//! What LoadBalancers came to when they were looked at last, so that one that changed costs one assessment and not one
//! for each of its tenant's.
//!
//! It decides nothing: what is remembered is what would be found again.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::v1alpha1::{Addresses, LoadBalancer};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use l4_xds::{LoadBalancerId, Settings};

use super::assess::{Assessed, Inputs, View, beyond_limit};
use crate::build::hub_service;
use crate::settings::TenantSettings;

/// Of one namespace.
#[derive(Debug, Default)]
pub struct Assessments {
    common: Option<Common>,
    services: Known<Service>,
    global_services: Known<Service>,
    /// In the order of names.
    all: Vec<Remembered>,
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

/// Objects, in the order in which they were listed.
type Known<T> = Vec<Arc<T>>;

impl Assessments {
    /// What the LoadBalancers of `view` come to, in the order of names.
    pub fn of(&mut self, view: &View) -> Vec<Arc<Assessed>> {
        let Some(settings) = &view.settings else {
            *self = Self::default();
            return Vec::new();
        };
        if !(self.common.as_ref()).is_some_and(|common| common.is_of(view, settings)) {
            *self = Self {
                common: Some(Common::of(view, settings)),
                ..Self::default()
            };
        }
        let services = Services::of(&mut self.services, &view.services);
        let global_services = Services::of(&mut self.global_services, &view.global_services);
        let addresses: BTreeMap<String, &Addresses> = (view.addresses.iter())
            .map(|addresses| (addresses.name_any(), addresses.as_ref()))
            .collect();
        let staying = view.staying();
        let beyond = beyond_limit(&staying, settings);
        let mut before = std::mem::take(&mut self.all).into_iter().peekable();
        self.all.reserve(staying.len());
        for lb in staying {
            let name = lb.metadata.name.as_deref().unwrap_or_default();
            let is_it = |old: &Remembered| Arc::ptr_eq(&old.assessed.load_balancer, lb);
            while (before.next_if(|old| !is_it(old) && old.assessed.id.name() < name)).is_some() {}
            let known = before.next_if(|old| is_it(old) || old.assessed.id.name() == name);
            let service_name = match &known {
                Some(known) => known.service_name.clone(),
                None => hub_service::name(&view.namespace, name),
            };
            let old = known.as_ref().map(|known| known.assessed.as_ref());
            let inputs = Inputs {
                settings,
                addresses: &addresses,
                translation: &view.translation,
                load_balancer: lb,
                service: services.get(&service_name, old.map(|old| old.service.as_ref())),
                global_service: (global_services)
                    .get(&service_name, old.map(|old| old.global_service.as_ref())),
                is_beyond_limit: beyond.contains(name),
            };
            let assessed = match known.as_ref() {
                Some(known) if known.is_of(&inputs) => Arc::clone(&known.assessed),
                Some(known) => Arc::new(Assessed::of(known.assessed.id.clone(), &inputs)),
                None => match LoadBalancerId::new(view.namespace.as_str(), name) {
                    Ok(id) => Arc::new(Assessed::of(id, &inputs)),
                    Err(_) => continue,
                },
            };
            self.all.push(Remembered {
                is_beyond_limit: inputs.is_beyond_limit,
                service_name,
                assessed,
            });
        }
        let all = self.all.iter();
        all.map(|remembered| Arc::clone(&remembered.assessed)).collect()
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
    fn of(known: &mut Known<Service>, all: &'a [Arc<Service>]) -> Self {
        let is_same = |(before, now)| Arc::ptr_eq(before, now);
        let are_same = known.len() == all.len() && known.iter().zip(all).all(is_same);
        if !are_same {
            *known = all.to_vec();
        }
        Self {
            all,
            are_same,
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
        let same_addresses = addresses.len() == view.addresses.len()
            && addresses
                .iter()
                .zip(&view.addresses)
                .all(|(a, b)| Arc::ptr_eq(a, b));
        *namespace == view.namespace
            && same_addresses
            && *translation == view.translation
            && known == settings
    }
}

impl Remembered {
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
