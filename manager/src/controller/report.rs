//! What Envoys said to other replicas reaches the one that writes status.
//!
//! A replica that does not lead keeps one ConfigMap for each tenant whose Envoys it hears: which load balancers
//! were acknowledged or rejected as they are served now. It is written when that changes, not when streams come
//! and go: an Envoy keeps what it has when its stream ends, so silence takes nothing back.

pub mod heard;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::condition;
use api::meta;
use api::names::derived_name_of;
use api::v1alpha1::{LoadBalancer, load_balancer_condition as reason};
use controller_kit::apply::{apply, delete};
use controller_kit::diff::needs_apply;
use controller_kit::driver::Outcome;
use controller_kit::object::Object;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use l4_xds::{ContentVersion, LoadBalancerId, LoadBalancerReport};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::heard::{Heard, moving};
use super::load_balancer::arrival::Arrivals;
use crate::build::{component, labels, object_meta};
use crate::context::{Context, Error, FIELD_MANAGER};
use crate::controller::load_balancer::status::is_acknowledged;
use crate::xds;
use crate::xds::served::{Served, ServedById};

/// Annotation: the replica that heard it.
pub const REPLICA: &str = "kubelb.k8c.io/replica";
const KEY: &str = "report.json";
/// Key beside it, while load balancers move: which Envoys have them.
const ARRIVALS_KEY: &str = "arrivals.json";

/// What one load balancer's Envoys said about the content that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The content.
    pub content: String,
    /// Envoy's words, if it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// By name of the LoadBalancer.
pub type Entries = BTreeMap<String, Word>;
/// What Envoys that clients reach say about each load balancer.
pub type Reports = HashMap<LoadBalancerId, LoadBalancerReport>;

/// What to publish: what is said now, else what was said before, as far as it is about what is served. Pure.
///
/// What the recorded status says already is not news: a replica that starts writes nothing.
#[must_use]
pub fn next(
    before: &Entries,
    said: &Reports,
    served: &ServedById,
    load_balancers: &[Arc<LoadBalancer>],
) -> Entries {
    let mut entries = Entries::new();
    let by_name: BTreeMap<&str, &LoadBalancer> = (load_balancers.iter())
        .filter_map(|lb| Some((lb.metadata.name.as_deref()?, lb.as_ref())))
        .collect();
    for (
        id,
        Served {
            generation: _,
            content,
        },
    ) in served.iter()
    {
        let now = said.get(id).and_then(|r| word(r, content));
        let kept = before
            .get(id.name())
            .filter(|word| word.content == content.as_str());
        let recorded = by_name.get(id.name());
        let news = now.filter(|word| kept.is_some() || !recorded.is_some_and(|lb| says(lb, word)));
        if let Some(word) = news.or_else(|| kept.cloned()) {
            entries.insert(id.name().to_owned(), word);
        }
    }
    entries
}

/// True where the status says the same of the same content.
fn says(lb: &LoadBalancer, word: &Word) -> bool {
    let Some(status) = &lb.status else { return false };
    let programmed = condition::find(&status.conditions, reason::PROGRAMMED);
    let same = |c: &Condition| match word.rejected {
        // A rejected content is tried again with each generation.
        Some(_) => c.reason == reason::REASON_REJECTED && c.observed_generation == lb.metadata.generation,
        None => is_acknowledged(c),
    };
    status.content_version.as_deref() == Some(word.content.as_str()) && programmed.is_some_and(same)
}

fn word(report: &LoadBalancerReport, content: &ContentVersion) -> Option<Word> {
    let rejected = report.rejected.get(content).cloned();
    let known = rejected.is_some() || report.programmed.contains(content);
    known.then(|| Word {
        content: content.to_string(),
        rejected,
    })
}

/// Publishes what this replica heard, or as the lease holder clears away what nobody needs.
///
/// # Errors
/// When the ConfigMap cannot be written.
pub async fn run(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    if ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    if ctx.leads() {
        return clear(ctx, namespace).await;
    }
    let live = ctx
        .stores
        .config_maps
        .get(&ctx.options.namespace, &name(&ctx.options.replica, namespace));
    let view = xds::view(ctx, namespace);
    let assessed = view.map(|view| ctx.assess(&view)).unwrap_or_default();
    let heard = Heard::of(ctx, namespace);
    let mut listener = heard.listen();
    let said: Reports = (assessed.iter())
        .filter_map(|item| Some((item.id.clone(), listener.report(item)?)))
        .collect();
    let arrivals = heard.arrivals(&moving(&assessed));
    let before = live.as_deref().map(entries).unwrap_or_default();
    let all = ctx.stores.load_balancers.in_namespace(namespace);
    let entries = next(&before, &said, &heard.served(&assessed), &all);
    let live = live.as_deref().map(Object::typed).transpose()?;
    if entries.is_empty() && arrivals.is_empty() {
        if let Some(live) = live {
            delete(&ctx.client, &live).await?;
        }
        return Ok(Outcome::done());
    }
    let desired = Object::typed(&config_map(ctx, namespace, &entries, &arrivals))?;
    if live.is_none_or(|live| needs_apply(desired.value(), live.value())) {
        apply(&ctx.client, FIELD_MANAGER, &desired).await?;
    }
    Ok(Outcome::done())
}

/// Removes reports about this namespace when it or their replica is gone, and this replica's own: it needs none.
async fn clear(ctx: &Context, namespace: &str) -> Result<Outcome, Error> {
    let gone = ctx.stores.namespaces.get("", namespace).is_none();
    for map in about(ctx, namespace) {
        let replica = map.annotations().get(REPLICA).cloned().unwrap_or_default();
        if gone || replica == ctx.options.replica || !is_alive(ctx, &replica) {
            delete(&ctx.client, &Object::typed(map.as_ref())?).await?;
        }
    }
    Ok(Outcome::done())
}

fn add(all: &mut Reports, namespace: &str, entries: Entries) {
    for (name, Word { content, rejected }) in entries {
        let Ok(id) = LoadBalancerId::new(namespace, name) else {
            continue;
        };
        let report = all.entry(id).or_default();
        let content = ContentVersion::from(content);
        match rejected {
            Some(words) => drop(report.rejected.entry(content).or_insert(words)),
            None => drop(report.programmed.insert(content)),
        }
    }
}

fn about(ctx: &Context, namespace: &str) -> Vec<Arc<ConfigMap>> {
    let mut all = ctx.stores.config_maps.in_namespace(&ctx.options.namespace);
    all.retain(|map| {
        map.annotations().contains_key(REPLICA)
            && map
                .annotations()
                .get(meta::ORIGIN_NAMESPACE)
                .is_some_and(|about| about == namespace)
    });
    all
}

fn is_alive(ctx: &Context, replica: &str) -> bool {
    ctx.stores.pods.get(&ctx.options.namespace, replica).is_some()
}

fn name(replica: &str, namespace: &str) -> String {
    derived_name_of("xds-report", &[replica, namespace], namespace)
}

fn entries(map: &ConfigMap) -> Entries {
    read(map, KEY)
}

fn read<T: DeserializeOwned + Default>(map: &ConfigMap, key: &str) -> T {
    let text = map.data.as_ref().and_then(|data| data.get(key));
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn config_map(ctx: &Context, namespace: &str, entries: &Entries, arrivals: &Arrivals) -> ConfigMap {
    let mut metadata = object_meta(
        &ctx.options.namespace,
        &name(&ctx.options.replica, namespace),
        labels("", component::XDS),
    );
    metadata.labels.get_or_insert_default().remove(meta::TENANT_LABEL);
    metadata.annotations = Some(BTreeMap::from([
        (REPLICA.to_owned(), ctx.options.replica.clone()),
        (meta::ORIGIN_NAMESPACE.to_owned(), namespace.to_owned()),
    ]));
    let text = serde_json::to_string(entries).unwrap_or_default();
    let mut data = BTreeMap::from([(KEY.to_owned(), text)]);
    if !arrivals.is_empty() {
        let text = serde_json::to_string(arrivals).unwrap_or_default();
        data.insert(ARRIVALS_KEY.to_owned(), text);
    }
    ConfigMap {
        metadata,
        data: Some(data),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> LoadBalancerId {
        LoadBalancerId::new("tenant-a", name).unwrap()
    }

    fn served(content: &str) -> ServedById {
        let served = Served {
            generation: 1,
            content: content.into(),
        };
        [(id("web"), served)].into_iter().collect()
    }

    fn said(programmed: &[&str], rejected: &[(&str, &str)]) -> Reports {
        let report = LoadBalancerReport {
            programmed: programmed.iter().map(|v| ContentVersion::from(*v)).collect(),
            rejected: rejected
                .iter()
                .map(|(v, w)| (ContentVersion::from(*v), (*w).to_owned()))
                .collect(),
        };
        Reports::from([(id("web"), report)])
    }

    fn heard(content: &str, rejected: Option<&str>) -> Entries {
        let heard = Word {
            content: content.into(),
            rejected: rejected.map(str::to_owned),
        };
        BTreeMap::from([("web".to_owned(), heard)])
    }

    #[test]
    fn only_what_is_said_about_what_is_served_is_published() {
        assert_eq!(
            next(&Entries::new(), &said(&["v1"], &[]), &served("v2"), &[]),
            Entries::new()
        );
        let both = said(&["v1", "v2"], &[]);
        assert_eq!(
            next(&Entries::new(), &both, &served("v2"), &[]),
            heard("v2", None)
        );
    }

    #[test]
    fn a_stream_that_ends_changes_nothing() {
        assert_eq!(
            next(&heard("v1", None), &Reports::new(), &served("v1"), &[]),
            heard("v1", None)
        );
        assert_eq!(
            next(&heard("v1", None), &Reports::new(), &served("v2"), &[]),
            Entries::new()
        );
    }

    #[test]
    fn what_the_status_says_already_is_no_news() {
        let recorded = |status: &str, reason: &str, content: Option<&str>| -> Arc<LoadBalancer> {
            let condition = serde_json::json!({"type": "Programmed", "status": status, "reason": reason,
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z", "message": ""});
            let lb = serde_json::json!({"metadata": {"name": "web", "namespace": "tenant-a", "generation": 1},
                "spec": {"endpoints": [], "ports": []},
                "status": {"contentVersion": content, "conditions": [condition]}});
            Arc::new(serde_json::from_value(lb).unwrap())
        };
        let acked = said(&["v1"], &[]);
        let published = |lb: Arc<LoadBalancer>| next(&Entries::new(), &acked, &served("v1"), &[lb]);
        let (v1, none) = (Some("v1"), Entries::new());
        assert_eq!(published(recorded("True", "Programmed", v1)), none);
        assert_eq!(published(recorded("False", "AddressNotAssigned", v1)), none);
        let news = heard("v1", None);
        assert_eq!(published(recorded("False", "Pending", None)), news);
        assert_eq!(published(recorded("True", "Programmed", Some("v0"))), news);
        assert_eq!(published(recorded("True", "Programmed", None)), news);
    }

    #[test]
    fn a_rejection_is_passed_on_with_envoys_words() {
        let entries = next(
            &heard("v1", None),
            &said(&[], &[("v1", "no")]),
            &served("v1"),
            &[],
        );
        assert_eq!(entries, heard("v1", Some("no")));
        let mut all = Reports::new();
        add(&mut all, "tenant-a", entries);
        assert_eq!(all[&id("web")].rejected[&ContentVersion::from("v1")], "no");
    }
}
