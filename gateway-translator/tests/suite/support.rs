//! Cases as they are written in YAML: a Route without what can be told from its resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::condition::ConditionValue;
use api::endpoint_policy::EndpointPolicy;
use api::v1alpha1::{
    Addresses, AddressesSpec, AnnotationSettings, EndpointAddress, Limits, Route, RouteSpec, SharedGateway,
    SyncSecret,
};
use gateway_translator::{
    Claimant, HubObservations, Input, Kind, ObjectKey, Observed, Output, Problem, Settings, claims, facts,
    translate,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub const NAMESPACE: &str = "tenant-a";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    #[serde(default)]
    pub settings: CaseSettings,
    #[serde(default)]
    pub addresses: BTreeMap<String, Vec<EndpointAddress>>,
    #[serde(default)]
    pub sync_secrets: Vec<CaseSecret>,
    #[serde(default)]
    pub routes: Vec<CaseRoute>,
    /// Another tenant on the hub, in the namespace `tenant-b`, with the same settings.
    #[serde(default)]
    pub neighbour: Vec<CaseRoute>,
    /// `Kind/name` of objects that are not ours.
    #[serde(default)]
    pub foreign: Vec<String>,
    /// Live objects: by name of the hub object, what differs from the wanted one.
    pub observed: Option<BTreeMap<String, CaseObserved>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseSettings {
    enabled: bool,
    allowed_domains: Vec<String>,
    endpoint_cidrs: Vec<ipnet::IpNet>,
    limits: Limits,
    shared_gateways: Vec<SharedGateway>,
    address_cidrs: Vec<ipnet::IpNet>,
    infrastructure_metadata: bool,
    annotations: AnnotationSettings,
    dns_annotations: bool,
}

impl Default for CaseSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed_domains: vec!["**.example.com".to_owned()],
            endpoint_cidrs: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            limits: Limits::default(),
            shared_gateways: Vec::new(),
            address_cidrs: Vec::new(),
            infrastructure_metadata: false,
            annotations: AnnotationSettings::default(),
            dns_annotations: false,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseRoute {
    /// The tenant's object without apiVersion, UID and generation.
    pub resource: Value,
    /// Minute of the Route's creation on the hub.
    #[serde(default)]
    pub created: u8,
    /// Merged over the Route's spec.
    #[serde(default)]
    pub decided: Map<String, Value>,
    /// Merged over the Route's metadata.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Merged over the origin; null leaves the origin out.
    #[serde(default = "unchanged")]
    pub origin: Value,
}

fn unchanged() -> Value {
    json!({})
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseSecret {
    name: String,
    #[serde(rename = "type")]
    type_: String,
    data: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseObserved {
    #[serde(default = "yes")]
    in_sync: bool,
    /// Generation the object was made from, where it is not the current one.
    source_generation: Option<i64>,
    status: Value,
}

fn yes() -> bool {
    true
}

impl CaseRoute {
    pub fn build(&self) -> Route {
        let mut resource = self.resource.clone();
        let text = |pointer: &str| {
            resource
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let namespace = match text("/metadata/namespace").as_str() {
            "" => "shop".to_owned(),
            namespace => namespace.to_owned(),
        };
        let uid = format!("uid-{namespace}-{name}");
        let defaults = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "generation": 3},
        });
        fill(&mut resource, &defaults);
        let mut spec = json!({
            "source": {"kubernetes": {"resource": resource}},
            "origin": {
                "group": "gateway.networking.k8s.io", "kind": kind, "namespace": namespace, "name": name,
                "uid": uid, "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
            },
        });
        merge(&mut spec, &Value::Object(self.decided.clone()));
        merge(&mut spec, &json!({"origin": self.origin}));
        let mut metadata = json!({
            "namespace": NAMESPACE, "name": uid, "uid": format!("cr-{uid}"), "generation": 1,
            "labels": {"kubelb.k8c.io/managed-by": "kubelb"},
            "creationTimestamp": format!("2026-03-01T00:{:02}:00Z", self.created),
        });
        merge(&mut metadata, &Value::Object(self.metadata.clone()));
        let mut route = Route::new("", serde_json::from_value::<RouteSpec>(spec).unwrap());
        route.metadata = serde_json::from_value(metadata).unwrap();
        route
    }
}

/// Adds what is missing.
fn fill(value: &mut Value, defaults: &Value) {
    if let (Some(fields), Some(defaults)) = (value.as_object_mut(), defaults.as_object()) {
        for (name, default) in defaults {
            fill(fields.entry(name).or_insert_with(|| default.clone()), default);
        }
    }
}

/// A merge patch.
fn merge(value: &mut Value, patch: &Value) {
    match (value.as_object_mut(), patch) {
        (Some(fields), Value::Object(patch)) => {
            for (name, change) in patch {
                if change.is_null() {
                    fields.remove(name);
                } else {
                    merge(fields.entry(name).or_insert(Value::Null), change);
                }
            }
        }
        _ => *value = patch.clone(),
    }
}

impl Case {
    pub fn settings(&self) -> Settings {
        let CaseSettings {
            enabled,
            allowed_domains,
            endpoint_cidrs,
            limits,
            shared_gateways,
            address_cidrs,
            infrastructure_metadata,
            annotations,
            dns_annotations,
        } = &self.settings;
        Settings {
            enabled: *enabled,
            allowed_domains: allowed_domains.clone(),
            endpoint_policy: EndpointPolicy {
                allowed: endpoint_cidrs.clone(),
                denied: Vec::new(),
            },
            limits: limits.clone(),
            shared_gateways: shared_gateways.clone(),
            gateway_addresses: EndpointPolicy {
                allowed: address_cidrs.clone(),
                denied: Vec::new(),
            },
            infrastructure_metadata: *infrastructure_metadata,
            annotations: annotations.clone(),
            dns_annotations: *dns_annotations,
            ..Settings::default()
        }
    }

    pub fn input(&self) -> Input {
        let settings = self.settings();
        let routes: Vec<Arc<Route>> = self.routes.iter().map(|r| Arc::new(r.build())).collect();
        let neighbours: Vec<Arc<Route>> = self.neighbour.iter().map(|r| Arc::new(r.build())).collect();
        let table = claims([
            Claimant {
                namespace: NAMESPACE,
                settings: &settings,
                routes: &routes,
            },
            Claimant {
                namespace: "tenant-b",
                settings: &settings,
                routes: &neighbours,
            },
        ]);
        let addresses = |(name, addresses): (&String, &Vec<EndpointAddress>)| {
            Arc::new(Addresses::new(
                name,
                AddressesSpec {
                    addresses: addresses.clone(),
                },
            ))
        };
        Input {
            tenant: "a".to_owned(),
            namespace: NAMESPACE.to_owned(),
            routes,
            addresses: self.addresses.iter().map(addresses).collect(),
            sync_secrets: self.sync_secrets.iter().map(|s| Arc::new(s.build())).collect(),
            claims: Arc::new(table),
            foreign: self.foreign.iter().map(|text| foreign(text)).collect(),
        }
    }

    /// Everything that comes out, as one document.
    pub fn run(&self) -> Value {
        let (input, settings) = (self.input(), self.settings());
        let output = translate(&input, &settings);
        let mut document = describe(&output);
        if let Some(observed) = &self.observed {
            document["facts"] = described_facts(&input, &output, observed);
        }
        document
    }
}

fn foreign(text: &str) -> ObjectKey {
    let (kind, name) = text.split_once('/').unwrap();
    let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind).unwrap();
    ObjectKey::new(kind, NAMESPACE, name)
}

impl CaseSecret {
    fn build(&self) -> SyncSecret {
        let mut secret: SyncSecret = serde_json::from_value(json!({
            "apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "SyncSecret",
            "metadata": {"namespace": NAMESPACE, "name": self.name, "uid": format!("cr-{}", self.name)},
            "spec": {"type": self.type_},
        }))
        .unwrap();
        let bytes = |(key, text): (&String, &String)| {
            let text = match text.as_str() {
                "CERT" => certificate_file("p256.crt"),
                "KEY" => certificate_file("p256.key"),
                text => text.to_owned(),
            };
            (key.clone(), k8s_openapi::ByteString(text.into_bytes()))
        };
        secret.spec.data = self.data.iter().map(bytes).collect();
        secret
    }
}

/// The content of a file of tests/certificates.
pub fn certificate_file(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/");
    std::fs::read_to_string(format!("{path}{name}")).unwrap_or_else(|e| panic!("{name}: {e}"))
}

pub fn describe(output: &Output) -> Value {
    let objects: Vec<&Value> = output.objects.iter().map(|object| &object.value).collect();
    let verdicts: Map<String, Value> = output
        .verdicts
        .iter()
        .map(|(name, verdict)| {
            let mut text = json!({"accepted": condition(&verdict.accepted)});
            let keys: Vec<String> = verdict.objects.iter().map(ToString::to_string).collect();
            let problems: Vec<String> = verdict.problems.iter().map(problem).collect();
            let refused: BTreeMap<_, _> = verdict
                .refused_listeners
                .iter()
                .map(|(n, p)| (n, problem(p)))
                .collect();
            for (field, value, is_empty) in [
                ("objects", json!(keys), keys.is_empty()),
                ("problems", json!(problems), problems.is_empty()),
                ("refusedListeners", json!(refused), refused.is_empty()),
                ("hasInvalidBackends", json!(true), !verdict.has_invalid_backends),
            ] {
                if !is_empty {
                    text[field] = value;
                }
            }
            (name.clone(), text)
        })
        .collect();
    let secrets: BTreeMap<_, _> = output
        .secret_problems
        .iter()
        .map(|(n, p)| (n, problem(p)))
        .collect();
    let mut document = json!({"objects": objects, "verdicts": verdicts});
    if !secrets.is_empty() {
        document["secretProblems"] = json!(secrets);
    }
    document
}

fn condition(value: &ConditionValue) -> String {
    format!(
        "{}={} {}: {}",
        value.type_,
        value.status.as_str(),
        value.reason,
        value.message
    )
}

fn problem(problem: &Problem) -> String {
    format!("{}: {}", problem.reason, problem.message)
}

fn described_facts(input: &Input, output: &Output, observed: &BTreeMap<String, CaseObserved>) -> Value {
    let mut live: Vec<(ObjectKey, Value, bool)> = Vec::new();
    for object in output.objects.iter() {
        let origin = object
            .value
            .pointer("/metadata/annotations/kubelb.k8c.io~1origin-name")
            .and_then(Value::as_str);
        let Some(case) = origin.and_then(|name| observed.get(name)) else {
            continue;
        };
        let mut value = object.value.clone();
        value["metadata"]["generation"] = json!(7);
        value["status"] = case.status.clone();
        if let Some(generation) = case.source_generation {
            value["metadata"]["annotations"]["kubelb.k8c.io/source-generation"] =
                json!(generation.to_string());
        }
        live.push((object.key.clone(), value, case.in_sync));
    }
    for (name, case) in observed {
        if let Some((namespace, name)) = name.split_once('/') {
            let value = json!({"metadata": {"namespace": namespace, "name": name, "generation": 7}, "status": case.status});
            live.push((ObjectKey::new(Kind::Gateway, namespace, name), value, true));
        }
    }
    let observations = HubObservations {
        objects: live
            .iter()
            .map(|(key, object, in_sync)| Observed {
                kind: key.kind,
                object,
                in_sync: *in_sync,
            })
            .collect(),
    };
    let told = facts(input, &output.verdicts, &observations)
        .into_iter()
        .map(|(name, facts)| {
            let told = json!({
                "sourceGeneration": facts.source_generation,
                "conditions": [condition(&facts.accepted), condition(&facts.programmed)],
                "addresses": facts.addresses,
                "listeners": facts.listeners,
                "parents": facts.parents,
            });
            (name, told)
        });
    Value::Object(told.collect())
}
