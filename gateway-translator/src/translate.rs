//! The translation of one tenant: every Route on its own, then what concerns all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1alpha1::{Addresses, Limits, Route, ServiceBackend, route_condition as condition};

use crate::backend::{BackendPlan, Backends, EndpointSource};
use crate::endpoints::AddressPool;
use crate::input::{Input, Settings};
use crate::origin::{self, Source};
use crate::output::{HubObject, Kind, ObjectKey, Objects, Output};
use crate::secret::translate_secret;
use crate::target::{Context, Draft, draft};
use crate::verdict::{Problem, Verdict};

/// Translates everything of one tenant.
///
/// Total and deterministic: the order of the input does not matter, and a Route that is refused takes nothing
/// else along.
#[must_use]
pub fn translate(input: &Input, settings: &Settings) -> Output {
    if !settings.enabled {
        return disabled(input);
    }
    let mut output = Output::default();
    add_secrets(input, &mut output);
    let secrets = input
        .sync_secrets
        .iter()
        .filter_map(|s| s.metadata.name.as_deref());
    let secrets = secrets
        .filter(|name| !output.secret_problems.contains_key(*name))
        .collect();
    let context = Context {
        input,
        settings,
        secrets,
    };

    let mut drafts = drafts(&context, &mut output.verdicts);
    let pools = pools(&drafts, input, settings);
    refuse(&mut drafts, &mut output.verdicts, |entry| {
        check_endpoints(entry, &pools)
    });
    refuse(&mut drafts, &mut output.verdicts, |entry| {
        check_names(entry, &input.foreign)
    });
    let mut counted = Counted::default();
    refuse(&mut drafts, &mut output.verdicts, |entry| {
        counted.check(entry, &settings.limits)
    });

    let plans = backend_plans(&mut drafts, &pools);
    let made: BTreeMap<&str, Vec<HubObject>> = plans
        .iter()
        .map(|plan| (plan.name.as_str(), backend_objects(plan, input)))
        .collect();
    for (source, draft) in drafts {
        add(source, draft, &made, &pools, &mut output);
    }
    add_backends(made, &mut output.objects);
    sort(&mut output.objects);
    output
}

type Entry<'a> = (Source<'a>, Draft<'a>);
type Pools<'a> = BTreeMap<EndpointSource<'a>, AddressPool>;

fn disabled(input: &Input) -> Output {
    let problem = || {
        Problem::new(
            condition::REASON_DISABLED,
            "The Gateway API is switched off for this tenant.",
        )
    };
    let verdict = |route: &Arc<Route>| (origin::route_name(route).to_owned(), Verdict::refused(problem()));
    Output {
        verdicts: input.routes.iter().map(verdict).collect(),
        ..Output::default()
    }
}

fn add_secrets(input: &Input, output: &mut Output) {
    for secret in &input.sync_secrets {
        match translate_secret(secret, &input.tenant, &input.namespace) {
            Ok(object) if input.foreign.contains(&object.key) => {
                let name = secret.metadata.name.clone().unwrap_or_default();
                output.secret_problems.insert(name, taken(&object.key));
            }
            Ok(object) => output.objects.secrets.push(object),
            Err(problem) => {
                let name = secret.metadata.name.clone().unwrap_or_default();
                output.secret_problems.insert(name, problem);
            }
        }
    }
}

/// Translates each Route, oldest first.
fn drafts<'a>(context: &Context<'a>, verdicts: &mut BTreeMap<String, Verdict>) -> Vec<Entry<'a>> {
    let mut routes: Vec<&Route> = context.input.routes.iter().map(Arc::as_ref).collect();
    routes.sort_by_key(|route| (origin::created(route), origin::route_name(route)));
    let mut identities = BTreeSet::new();
    let mut drafts = Vec::new();
    for route in routes {
        let drafted = origin::check(route).and_then(|source| {
            if !identities.insert((source.kind, &source.origin.namespace, &source.origin.name)) {
                return Err(Problem::new(
                    condition::REASON_NAME_CONFLICT,
                    "An older Route stands for the same object of the tenant.",
                ));
            }
            Ok((source, draft(context, &source)?))
        });
        match drafted {
            Ok(entry) => drafts.push(entry),
            Err(problem) => {
                verdicts.insert(origin::route_name(route).to_owned(), Verdict::refused(problem));
            }
        }
    }
    drafts
}

/// Moves the entries that do not pass a check to the verdicts.
fn refuse<'a>(
    drafts: &mut Vec<Entry<'a>>,
    verdicts: &mut BTreeMap<String, Verdict>,
    mut check: impl FnMut(&Entry<'a>) -> Result<(), Problem>,
) {
    drafts.retain(|entry| match check(entry) {
        Ok(()) => true,
        Err(problem) => {
            verdicts.insert(
                origin::route_name(entry.0.route).to_owned(),
                Verdict::refused(problem),
            );
            false
        }
    });
}

fn pools<'a>(drafts: &[Entry<'a>], input: &'a Input, settings: &Settings) -> Pools<'a> {
    let addresses: BTreeMap<&str, &Addresses> = input
        .addresses
        .iter()
        .filter_map(|object| Some((object.metadata.name.as_deref()?, object.as_ref())))
        .collect();
    let mut pools = Pools::new();
    for (source, draft) in drafts {
        if let Some(Backends {
            endpoints,
            used,
            has_invalid: _,
        }) = &draft.backends
            && !used.is_empty()
            && !pools.contains_key(endpoints)
        {
            let pool = AddressPool::gather(endpoints, source.route, &addresses, &settings.endpoint_policy);
            pools.insert(endpoints.clone(), pool);
        }
    }
    pools
}

fn pool_of<'a, 'p>(draft: &Draft<'a>, pools: &'p Pools<'a>) -> Option<&'p AddressPool> {
    draft
        .backends
        .as_ref()
        .filter(|b| !b.used.is_empty())
        .and_then(|b| pools.get(&b.endpoints))
}

/// Addresses that are not allowed are left out; where nothing else is there, the Route is refused.
fn check_endpoints<'a>((_, draft): &Entry<'a>, pools: &Pools<'a>) -> Result<(), Problem> {
    match pool_of(draft, pools) {
        Some(pool) if pool.is_empty() && pool.refused => {
            let first = pool
                .problems
                .iter()
                .find(|p| p.reason == condition::REASON_ENDPOINT_NOT_ALLOWED);
            Err(first.cloned().unwrap_or_else(|| {
                Problem::new(condition::REASON_ENDPOINT_NOT_ALLOWED, "No endpoint is allowed.")
            }))
        }
        _ => Ok(()),
    }
}

fn check_names((_, draft): &Entry<'_>, foreign: &BTreeSet<ObjectKey>) -> Result<(), Problem> {
    let own = &draft.object.key;
    let services = draft.backends.iter().flat_map(|b| b.used.keys());
    let keys = services.map(|name| ObjectKey::new(Kind::Service, &own.namespace, name));
    match keys.chain([own.clone()]).find(|key| foreign.contains(key)) {
        Some(key) => Err(taken(&key)),
        None => Ok(()),
    }
}

fn taken(key: &ObjectKey) -> Problem {
    let message = format!(
        "There is a {} {} on the hub that is not ours.",
        key.kind.as_str(),
        key.name
    );
    Problem::new(condition::REASON_NAME_CONFLICT, message)
}

/// How many are served so far.
#[derive(Debug, Default)]
struct Counted {
    gateways: u32,
    routes: u32,
}

impl Counted {
    fn check(&mut self, (source, _): &Entry<'_>, limits: &Limits) -> Result<(), Problem> {
        let (count, limit, what) = match source.kind {
            Kind::Gateway => (&mut self.gateways, limits.gateways, "Gateways"),
            _ => (&mut self.routes, limits.routes, "routes"),
        };
        if let Some(limit) = limit.filter(|limit| *count >= *limit) {
            return Err(Problem::new(
                condition::REASON_LIMIT_EXCEEDED,
                format!("The tenant has {limit} older {what}, which is its limit."),
            ));
        }
        *count += 1;
        Ok(())
    }
}

/// One plan for each hub Service. Routes that do not agree about its port name or protocol follow the oldest.
fn backend_plans<'a>(drafts: &mut [Entry<'a>], pools: &'a Pools<'a>) -> Vec<BackendPlan<'a>> {
    let mut chosen: BTreeMap<String, (&'a ServiceBackend, &'a AddressPool)> = BTreeMap::new();
    for (_, draft) in drafts {
        let Draft {
            object: _,
            backends: Some(backends),
            problems,
            refused_listeners: _,
        } = draft
        else {
            continue;
        };
        let Some(pool) = pools.get(&backends.endpoints) else {
            continue;
        };
        for (name, service) in &backends.used {
            let (first, _) = *chosen.entry(name.clone()).or_insert((*service, pool));
            if first != *service {
                problems.push(Problem::unsupported(format!(
                    "An older route has another name or appProtocol for port {} of Service {}/{}, which holds.",
                    service.port, service.namespace, service.name
                )));
            }
        }
    }
    chosen
        .into_iter()
        .map(|(name, (service, pool))| BackendPlan { name, service, pool })
        .collect()
}

fn backend_objects(plan: &BackendPlan<'_>, input: &Input) -> Vec<HubObject> {
    let mut objects = vec![plan.service(&input.tenant, &input.namespace)];
    objects.extend(plan.endpoint_slices(&input.tenant, &input.namespace));
    objects
}

fn add<'a>(
    source: Source<'a>,
    draft: Draft<'a>,
    made: &BTreeMap<&str, Vec<HubObject>>,
    pools: &Pools<'a>,
    output: &mut Output,
) {
    let pool_problems = pool_of(&draft, pools).map(|pool| pool.problems.clone());
    let Draft {
        object,
        backends,
        mut problems,
        refused_listeners,
    } = draft;
    problems.extend(pool_problems.into_iter().flatten());
    let mut keys = vec![object.key.clone()];
    let used = backends.iter().flat_map(|b| b.used.keys());
    keys.extend(
        used.filter_map(|name| made.get(name.as_str()))
            .flatten()
            .map(|object| object.key.clone()),
    );
    let verdict = Verdict {
        refused_listeners,
        has_invalid_backends: backends.is_some_and(|b| b.has_invalid),
        ..Verdict::served(keys, problems)
    };
    output
        .verdicts
        .insert(origin::route_name(source.route).to_owned(), verdict);
    match source.kind {
        Kind::Gateway => output.objects.gateways.push(object),
        Kind::HttpRoute => output.objects.http_routes.push(object),
        Kind::GrpcRoute => output.objects.grpc_routes.push(object),
        // `origin` yields no other kind.
        Kind::Secret | Kind::Service | Kind::EndpointSlice => {}
    }
}

fn add_backends(made: BTreeMap<&str, Vec<HubObject>>, objects: &mut Objects) {
    for object in made.into_values().flatten() {
        match object.key.kind {
            Kind::Service => objects.services.push(object),
            _ => objects.endpoint_slices.push(object),
        }
    }
}

fn sort(objects: &mut Objects) {
    let Objects {
        secrets,
        services,
        endpoint_slices,
        gateways,
        http_routes,
        grpc_routes,
    } = objects;
    for list in [
        secrets,
        services,
        endpoint_slices,
        gateways,
        http_routes,
        grpc_routes,
    ] {
        list.sort_by(|a, b| a.key.cmp(&b.key));
    }
}
