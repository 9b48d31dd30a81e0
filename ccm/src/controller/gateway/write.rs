//! Writes what was decided: first what others need, then what needs it; removal the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::v1alpha1::{Route, SyncSecret, SyncSecretSpec, SyncSecretType};
use controller_kit::Object;
use controller_kit::apply::{Applier, Report};
use controller_kit::diff::{Plan, Portion, plan};
use controller_kit::object::{ObjectError, ObjectId};
use controller_kit::watch::{self, Synced};
use futures::future::join_all;
use gateway_semantics::{AuthorityRef, DesiredRoute, Outcome, SecretRef, Snapshot};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use tokio::time::Instant;

use super::super::{ControllerError, is_made_from, origin_kind, origin_name};
use super::authorities::CA_KEY;
use super::stores::ROUTE_ORIGINS;
use super::{GatewayApi, needs};
use crate::FIELD_MANAGER;
use crate::convert::origin::{Origin, metadata};
use crate::hub::refusal::Refusal;

/// Kind in the origin annotations of a SyncSecret.
pub const SECRET_ORIGIN: &str = "Secret";
/// Kind in the origin annotations of a SyncSecret that was made from a ConfigMap.
pub const CONFIG_MAP_ORIGIN: &str = "ConfigMap";

/// Routes that one run brings to the hub at most. So a thousand new ones are some thirty runs, and what happens
/// meanwhile is seen, told and brought with the next of them.
const PORTION: usize = 32;

/// Kind and namespace of what was changed, and whether all of it went well.
pub type Changed = BTreeMap<(String, String), bool>;

/// What one run wrote.
#[derive(Debug, Default)]
pub struct Written {
    /// What was changed.
    pub changed: Changed,
    /// What the hub did not take, and will not take without a change.
    pub refused: Vec<Refusal>,
    /// Something of the own cluster could not be removed.
    pub left: bool,
    /// There is more to bring to the hub.
    pub more: bool,
    /// Something that nobody needs may be removed after this time.
    pub lingers: Option<Duration>,
}

impl Written {
    pub(super) fn note(&mut self, kind: &str, namespace: &str, success: bool) {
        *self
            .changed
            .entry((kind.to_owned(), namespace.to_owned()))
            .or_insert(true) &= success;
    }
}

/// A plan in its two halves.
struct Halves {
    write: Plan,
    remove: Plan,
}

fn halves(mut whole: Plan) -> Halves {
    let delete = std::mem::take(&mut whole.delete);
    Halves {
        write: whole,
        remove: Plan {
            delete,
            ..Plan::default()
        },
    }
}

impl GatewayApi {
    /// Brings the own cluster and the hub to what was decided. What the own cluster refuses changes the snapshot,
    /// and what was decided from it.
    pub(super) async fn delegate(
        &self,
        snapshot: &mut Snapshot,
        outcome: &mut Outcome,
        synced: &Synced,
        written: &mut Written,
    ) -> Result<(), ControllerError> {
        let (removal, mut result) = self.expose(snapshot, outcome, written).await;
        let mut secrets = halves(self.plan_secrets(outcome)?);
        let due_in = self
            .lingering
            .hold_back_authorities(&mut secrets.remove, Instant::now());
        written.lingers = written.lingers.into_iter().chain(due_in).min();
        let refused_before = self.refused_before();
        let Portion { plan: routes, left } = self
            .plan_routes(outcome)?
            .portion(PORTION, |id| refused_before.contains_key(id));
        let hub = Applier::new(self.context.hub.clone(), FIELD_MANAGER, &[]).sees_all();
        result = result.and(self.note(hub.execute(secrets.write, None, is_sync_secret).await, written));
        let report = hub.execute(routes, Some(synced), is_route).await;
        if !left.is_empty() {
            written.more = true;
            // What was not tried again is as it was.
            written
                .refused
                .extend(left.iter().filter_map(|id| refused_before.get(id)).cloned());
            self.await_shown(&report.applied).await;
            return result.and(self.note(report, written));
        }
        result = result.and(self.note(report, written));
        // A Route that may be changed in a moment still needs what looks unwanted.
        result?;
        // One that will not be changed needs it for as long as it stays, and must not keep anything else. What it
        // needs of the own cluster is not in `removal`: the hub's Routes as they are have been taken into account.
        self.spare_needs_of_refused(&mut secrets.remove, &written.refused);
        let result = self.note(
            hub.execute(secrets.remove, Some(synced), is_sync_secret).await,
            written,
        );
        result.and(self.withdraw(removal, synced, written).await)
    }

    /// What the hub did not take the last time, by its name there.
    fn refused_before(&self) -> BTreeMap<ObjectId, Refusal> {
        let last = self.findings.last();
        let refused = last.iter().flat_map(|finding| &finding.refused);
        refused
            .filter_map(|refusal| Some((refusal.id.clone()?, refusal.clone())))
            .collect()
    }

    /// Until the watch shows what was written: a run that begins at once would write it again.
    async fn await_shown(&self, written: &[Object]) {
        let shown = written.iter().map(|object| self.stores.routes.shown(object));
        watch::await_shown(join_all(shown)).await;
    }

    /// Leaves out of what is to be removed the SyncSecrets of Routes that stay on the hub because it refuses to have
    /// them changed or removed.
    fn spare_needs_of_refused(&self, remove: &mut Plan, refused: &[Refusal]) {
        if remove.delete.is_empty() || refused.is_empty() {
            return;
        }
        if refused.iter().any(|refusal| refusal.id.is_none()) {
            // It is not known whose needs are to be spared.
            remove.delete.clear();
            return;
        }
        let ids = refused.iter().filter_map(|refusal| refusal.id.as_ref());
        let refused: BTreeSet<&str> = ids.map(|id| id.key.name.as_str()).collect();
        let routes = self.stores.routes.snapshot();
        let stay = routes
            .iter()
            .filter(|route| refused.contains(route.name_any().as_str()));
        let needed: BTreeSet<&str> = stay.flat_map(|route| needs::all(&route.spec)).collect();
        remove
            .delete
            .retain(|object| !needed.contains(object.id().key.name.as_str()));
    }

    fn plan_secrets(&self, outcome: &Outcome) -> Result<Plan, ObjectError> {
        let wanted = outcome
            .sync_secrets
            .iter()
            .filter_map(|secret| self.sync_secret(secret));
        let authorities = outcome
            .authorities
            .iter()
            .filter_map(|authority| self.sync_authority(authority));
        let desired = wanted
            .chain(authorities)
            .map(|secret| Object::typed(&secret))
            .collect::<Result<Vec<_>, _>>()?;
        let live = self.stores.sync_secrets.objects()?;
        let mut plan = plan(desired, &live, is_sync_secret);
        if plan.delete.is_empty() {
            return Ok(plan);
        }
        let needed = self.authorities_of_backends(outcome);
        plan.delete.retain(|object| {
            !self.stores.is_from_undecodable(object) && !needed.contains(&object.id().key.name)
        });
        Ok(plan)
    }

    /// SyncSecrets of the authorities that backends need: those of Routes that stay on the hub as they are, and those
    /// of Routes that are sent, which may keep some of what they were.
    fn authorities_of_backends(&self, outcome: &Outcome) -> BTreeSet<String> {
        let routes = self.stores.routes.snapshot();
        let held = routes
            .iter()
            .filter(|route| outcome.hold.contains(&route.name_any()))
            .map(|route| &route.spec);
        let sent = outcome.routes.values().map(|route| &route.spec);
        held.chain(sent)
            .flat_map(needs::of_backends)
            .map(str::to_owned)
            .collect()
    }

    fn sync_secret(&self, wanted: &SecretRef) -> Option<SyncSecret> {
        let SecretRef { uid, namespace, name } = wanted;
        let secret = self
            .stores
            .secrets
            .get(namespace, name)
            .filter(|s| s.metadata.uid.as_ref() == Some(uid))?;
        let origin = Origin {
            kind: SECRET_ORIGIN,
            namespace,
            name,
            uid,
        };
        Some(SyncSecret {
            metadata: metadata(origin, &self.context.hub_namespace, BTreeMap::new()),
            spec: SyncSecretSpec {
                type_: SyncSecretType::Tls,
                data: secret.data.clone().unwrap_or_default(),
            },
            status: None,
        })
    }

    fn sync_authority(&self, wanted: &AuthorityRef) -> Option<SyncSecret> {
        let AuthorityRef {
            sync_name,
            kind,
            namespace,
            name,
            uid: _,
        } = wanted;
        let key = (kind.clone(), namespace.clone(), name.clone());
        let content = self.stores.authorities.content(&key)?;
        let origin = Origin {
            kind,
            namespace,
            name,
            uid: sync_name,
        };
        Some(SyncSecret {
            metadata: metadata(origin, &self.context.hub_namespace, BTreeMap::new()),
            spec: SyncSecretSpec {
                type_: SyncSecretType::Opaque,
                data: BTreeMap::from([(CA_KEY.to_owned(), content)]),
            },
            status: None,
        })
    }

    fn plan_routes(&self, outcome: &Outcome) -> Result<Plan, ObjectError> {
        let live = self.stores.routes.objects()?;
        let wanted = outcome.routes.iter().map(|(name, route)| (name.clone(), route));
        let mut memory = self.memory.lock();
        let desired = memory
            .routes
            .render(wanted, |name, route| self.route(name, route))?;
        let mut plan = memory.settled_routes.plan(desired, &live, is_route);
        drop(memory);
        plan.delete.retain(|object| {
            !outcome.hold.contains(&object.id().key.name) && !self.stores.is_from_undecodable(object)
        });
        Ok(plan)
    }

    fn route(&self, name: &str, wanted: &DesiredRoute) -> Result<Object, ObjectError> {
        let DesiredRoute {
            labels,
            annotations,
            spec,
        } = wanted.clone();
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.context.hub_namespace.to_string()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        };
        Object::typed(&Route {
            metadata,
            spec,
            status: None,
        })
    }

    /// Logs and counts what was done on the hub. The error is one that may pass by itself.
    fn note(&self, report: Report, written: &mut Written) -> Result<(), ControllerError> {
        note_done(&self.context.hub_namespace, &report, written);
        let refusals = self.context.refusals(&report);
        for name in refusals.iter().filter_map(|r| Some(&r.id.as_ref()?.key.name)) {
            if let Some(object) = self.stores.object_of(name) {
                written.note(object.kind.as_str(), &object.namespace, false);
            } else if let Some(namespace) = self.stores.namespace_of_secret(name) {
                written.note(SECRET_ORIGIN, &namespace, false);
            }
        }
        let is_transient = refusals.iter().any(|refusal| refusal.is_transient);
        written
            .refused
            .extend(refusals.into_iter().filter(|refusal| !refusal.is_transient));
        if is_transient {
            report.into_result()?;
        }
        Ok(())
    }
}

/// Logs and notes what was written and removed, and what is somebody else's.
pub(super) fn note_done(tenant: &str, report: &Report, written: &mut Written) {
    for object in &report.applied {
        let (namespace, name) = origin_name(object).unwrap_or_default();
        let kind = origin_kind(object).unwrap_or_default();
        tracing::info!(tenant, kind, namespace, name, object = %object.id(), "object written");
        written.note(kind, namespace, true);
    }
    for id in &report.deleted {
        tracing::info!(tenant, object = %id, "object removed");
    }
    for id in &report.foreign {
        tracing::warn!(tenant, object = %id, "an object of this name exists and is not ours: it is left alone");
    }
}

fn is_sync_secret(object: &Object) -> bool {
    is_made_from(object, &[SECRET_ORIGIN, CONFIG_MAP_ORIGIN])
}

fn is_route(object: &Object) -> bool {
    is_made_from(object, &ROUTE_ORIGINS)
}
