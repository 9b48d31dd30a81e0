//! The translation of one tenant: every Route on its own, then what concerns all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1alpha1::{Addresses, Limits, Route, ServiceBackend, SyncSecretType, route_condition as condition};

use crate::arrange::parts::parts;
use crate::arrange::precedence::{Age, Contender, decide};
use crate::arrange::topology::Topology;
use crate::arrange::{misdirected, parts::Part};
use crate::backend::{BackendPlan, Backends, EndpointSource};
use crate::endpoints::AddressPool;
use crate::input::{Input, Settings};
use crate::origin::{self, Source};
use crate::output::{HubObject, Kind, ObjectKey, Output};
use crate::secret::translate_secret;
use crate::target::{Content, Context, Draft, Fronts, draft, hub_object};
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
    let arrived = |type_| {
        let secrets = input.sync_secrets.iter().filter(move |s| s.spec.type_ == type_);
        let names = secrets.filter_map(|s| s.metadata.name.as_deref());
        names
            .filter(|name| !output.secret_problems.contains_key(*name))
            .collect()
    };
    let context = Context {
        input,
        settings,
        certificates: arrived(SyncSecretType::Tls),
        authorities: arrived(SyncSecretType::Opaque),
        refused_secrets: &output.secret_problems,
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
        .map(|plan| (plan.name.as_str(), plan.objects(&input.tenant, &input.namespace)))
        .collect();
    let own = own_objects(&drafts, input, settings);
    for ((source, draft), objects) in drafts.into_iter().zip(own) {
        let verdict = verdict(&draft, &objects, &made, &pools);
        output
            .verdicts
            .insert(origin::route_name(source.route).to_owned(), verdict);
        objects.into_iter().for_each(|object| output.objects.add(object));
    }
    made.into_values()
        .flatten()
        .for_each(|object| output.objects.add(object));
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
            Ok(object) => output.objects.add(object),
            Err(problem) => {
                let name = secret.metadata.name.clone().unwrap_or_default();
                output.secret_problems.insert(name, problem);
            }
        }
    }
}

/// Translates each Route: Gateways before the ListenerSets that belong to them, and the oldest first.
fn drafts<'a>(context: &'a Context<'a>, verdicts: &mut BTreeMap<String, Verdict>) -> Vec<Entry<'a>> {
    let mut routes: Vec<&Route> = context.input.routes.iter().map(Arc::as_ref).collect();
    routes.sort_by_key(|route| (origin::created(route), origin::route_name(route)));
    let mut identities = BTreeSet::new();
    let mut sources = Vec::new();
    for route in routes {
        let checked = origin::check(route).and_then(|source| {
            if identities.insert((source.kind, &source.origin.namespace, &source.origin.name)) {
                return Ok(source);
            }
            Err(Problem::new(
                condition::REASON_NAME_CONFLICT,
                "An older Route stands for the same object of the tenant.",
            ))
        });
        match checked {
            Ok(source) => sources.push(source),
            Err(problem) => {
                drop(verdicts.insert(origin::route_name(route).to_owned(), Verdict::refused(problem)))
            }
        }
    }
    let rank = |source: &Source<'_>| match source.kind {
        Kind::Gateway => 0,
        Kind::ListenerSet => 1,
        _ => 2,
    };
    sources.sort_by_key(rank);
    let mut fronts = Fronts::new();
    let mut drafts = Vec::new();
    for source in sources {
        match draft(context, &source, &mut fronts) {
            Ok(draft) => drafts.push((source, draft)),
            Err(problem) => drop(verdicts.insert(
                origin::route_name(source.route).to_owned(),
                Verdict::refused(problem),
            )),
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
            problems: _,
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
    let own = &draft.key;
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
            key: _,
            content: _,
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
            problems.extend(unreachable(service, pool));
        }
    }
    chosen
        .into_iter()
        .map(|(name, (service, pool))| BackendPlan { name, service, pool })
        .collect()
}

/// A Service that answers at no address that nodes have.
fn unreachable(service: &ServiceBackend, pool: &AddressPool) -> Option<Problem> {
    if pool.is_empty() || !pool.answering(&service.ip_families).is_empty() {
        return None;
    }
    let families: Vec<_> = service.ip_families.iter().map(|family| family.as_str()).collect();
    Some(Problem::unsupported(format!(
        "Service {}/{} answers at {} alone, and no node has an address of it.",
        service.namespace,
        service.name,
        families.join(" and ")
    )))
}

/// The objects that belong to each Route alone.
fn own_objects(drafts: &[Entry<'_>], input: &Input, settings: &Settings) -> Vec<Vec<HubObject>> {
    let topology = topology(drafts, settings);
    let routes = drafts
        .iter()
        .enumerate()
        .filter_map(|(index, (source, draft))| match &draft.content {
            Content::Route(content) => Some((
                index,
                Contender {
                    kind: source.kind,
                    age: Age::of(source),
                    content,
                },
            )),
            Content::Listeners { .. } => None,
        });
    let (indices, contenders): (Vec<usize>, Vec<Contender<'_>>) = routes.unzip();
    let held = decide(&contenders, &topology);
    let parts_of: BTreeMap<usize, Vec<Part>> = indices
        .into_iter()
        .zip(contenders.iter().zip(&held))
        .map(|(index, (contender, held))| (index, parts(contender.content, held)))
        .collect();
    let routed = parts_of.values().flatten().flat_map(Part::attachments).collect();
    let objects = drafts
        .iter()
        .enumerate()
        .map(|(index, (source, draft))| match &draft.content {
            Content::Listeners { gateway, spec, .. } => {
                let mut objects = vec![hub_object(input, settings, source, draft.key.clone(), spec)];
                let further = misdirected::policies(&draft.key, gateway, &topology, &routed);
                objects.extend(
                    further
                        .into_iter()
                        .map(|(key, spec)| hub_object(input, settings, source, key, &spec)),
                );
                objects
            }
            Content::Route(content) => {
                let parts = parts_of.get(&index).into_iter().flatten().enumerate();
                let object = |(number, part): (usize, &Part)| {
                    let spec = part.spec(content, &input.namespace);
                    hub_object(
                        input,
                        settings,
                        source,
                        source.part(&input.namespace, number),
                        &spec,
                    )
                };
                parts.map(object).collect()
            }
        });
    objects.collect()
}

fn topology(drafts: &[Entry<'_>], settings: &Settings) -> Topology {
    let mut topology = Topology::with_shared(&settings.shared_gateways);
    for (_, draft) in drafts {
        if let Content::Listeners {
            gateway,
            spec: _,
            served,
        } = &draft.content
        {
            served
                .iter()
                .for_each(|listener| topology.add(&draft.key, gateway, listener));
        }
    }
    topology
}

fn verdict<'a>(
    draft: &Draft<'a>,
    own: &[HubObject],
    made: &BTreeMap<&str, Vec<HubObject>>,
    pools: &Pools<'a>,
) -> Verdict {
    let Draft {
        key: _,
        content: _,
        backends,
        problems,
        refused_listeners,
    } = draft;
    let mut problems = problems.clone();
    let pool_problems = pool_of(draft, pools).map(|pool| pool.problems.clone());
    problems.extend(pool_problems.into_iter().flatten());
    let mut keys: Vec<ObjectKey> = own.iter().map(|object| object.key.clone()).collect();
    let used = backends.iter().flat_map(|b| b.used.keys());
    keys.extend(
        used.filter_map(|name| made.get(name.as_str()))
            .flatten()
            .map(|object| object.key.clone()),
    );
    Verdict {
        refused_listeners: refused_listeners.clone(),
        has_invalid_backends: backends.as_ref().is_some_and(|b| b.has_invalid),
        ..Verdict::served(keys, problems)
    }
}
