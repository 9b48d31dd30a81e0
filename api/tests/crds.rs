//! The committed definitions are those of the types, and the example objects are what they claim to be.
//!
//! Whether a real API server takes the good examples and refuses the bad ones is checked in `e2e`: limits and
//! CEL rules are its business, not serde's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::v1alpha1::{Addresses, Config, LoadBalancer, Route, SyncSecret, Tenant, TenantState};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where the manager's chart keeps the definitions.
const COMMITTED: &str = "../charts/kubelb-manager/crds-files";
const REGENERATE: &str = "cargo run -p api --bin crdgen -- charts/kubelb-manager/crds-files";
/// Annotation of a bad example: a part of the API server's answer.
const EXPECT_ERROR: &str = "kubelb.k8c.io/expect-error";
const KINDS: [&str; 7] = [
    "Addresses",
    "Config",
    "LoadBalancer",
    "Route",
    "SyncSecret",
    "Tenant",
    "TenantState",
];

fn yaml_files(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        (
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            std::fs::read_to_string(&path).unwrap(),
        )
    };
    paths
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .map(read)
        .collect()
}

fn parse<T: DeserializeOwned>(file: &str, text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn round_trip<T: DeserializeOwned + serde::Serialize>(file: &str, text: &str) -> Value {
    serde_json::to_value(parse::<T>(file, text)).unwrap()
}

/// Every leaf of `wanted` is in `got`, so that no field of an example is unknown to the type.
fn assert_kept(file: &str, path: &str, wanted: &Value, got: &Value) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            for (key, value) in wanted {
                let empty = value.as_array().is_some_and(Vec::is_empty);
                match got.get(key) {
                    Some(kept) => assert_kept(file, &format!("{path}/{key}"), value, kept),
                    None => assert!(empty, "{file}: {path}/{key} is not a field of the type"),
                }
            }
        }
        (Value::Array(wanted), Value::Array(got)) => {
            assert_eq!(wanted.len(), got.len(), "{file}: {path}");
            for (index, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                assert_kept(file, &format!("{path}/{index}"), wanted, got);
            }
        }
        _ => assert_eq!(wanted, got, "{file}: {path}"),
    }
}

#[test]
fn committed_definitions_are_those_of_the_types() {
    let wanted: BTreeMap<String, String> = api::crds::files().unwrap().into_iter().collect();
    let committed = yaml_files(COMMITTED);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&wanted), "regenerate: {REGENERATE}");
    for (name, text) in &wanted {
        assert!(
            committed[name] == *text,
            "{name} differs from the types, regenerate: {REGENERATE}"
        );
    }
}

/// Fields of a schema without a limit: arrays without `maxItems`, maps without `maxProperties`. What may hold
/// anything is somebody else's object and exempt.
fn unlimited(path: &str, schema: &JSONSchemaProps) -> Vec<String> {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if schema.type_.as_deref() == Some("array") && schema.max_items.is_none() {
        found.push(format!("{path}: a list without maxItems"));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        found.extend(unlimited(&format!("{path}[]"), items));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        if schema.max_properties.is_none() {
            found.push(format!("{path}: a map without maxProperties"));
        }
        found.extend(unlimited(&format!("{path}.*"), values));
    }
    for (name, property) in schema.properties.iter().flatten() {
        found.extend(unlimited(&format!("{path}.{name}"), property));
    }
    found
}

#[test]
fn every_list_and_every_map_has_a_limit() {
    let all = api::crds::all();
    assert_eq!(all.len(), KINDS.len());
    let mut found = Vec::new();
    for crd in &all {
        for version in &crd.spec.versions {
            let schema = version.schema.as_ref().unwrap();
            let schema = schema.open_api_v3_schema.as_ref().unwrap();
            found.extend(unlimited(&crd.spec.names.kind, schema));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_kind_has_good_and_bad_examples() {
    let count = |folder: &str, kind: &str| {
        let files = yaml_files(folder);
        files
            .iter()
            .filter(|(name, text)| parse::<Value>(name, text)["kind"] == kind)
            .count()
    };
    for kind in KINDS {
        assert!(
            count("tests/examples/good", kind) >= 2,
            "{kind}: too few good examples"
        );
        assert!(
            count("tests/examples/bad", kind) >= 3,
            "{kind}: too few bad examples"
        );
    }
}

#[test]
fn good_examples_survive_a_trip_through_the_types() {
    for (file, text) in yaml_files("tests/examples/good") {
        let wanted: Value = parse(&file, &text);
        let got = match wanted["kind"].as_str().unwrap() {
            "Addresses" => round_trip::<Addresses>(&file, &text),
            "Config" => round_trip::<Config>(&file, &text),
            "LoadBalancer" => round_trip::<LoadBalancer>(&file, &text),
            "Route" => round_trip::<Route>(&file, &text),
            "SyncSecret" => round_trip::<SyncSecret>(&file, &text),
            "Tenant" => round_trip::<Tenant>(&file, &text),
            "TenantState" => round_trip::<TenantState>(&file, &text),
            other => panic!("{file}: unknown kind {other}"),
        };
        assert_kept(&file, "", &wanted, &got);
    }
}

#[test]
fn bad_examples_say_which_error_they_expect() {
    for (file, text) in yaml_files("tests/examples/bad") {
        let object: Value = parse(&file, &text);
        let expected = object["metadata"]["annotations"][EXPECT_ERROR].as_str();
        assert!(
            expected.is_some_and(|e| !e.is_empty()),
            "{file} has no annotation {EXPECT_ERROR}"
        );
        assert_eq!(object["apiVersion"], "kubelb.k8c.io/v1alpha1", "{file}");
        assert!(KINDS.contains(&object["kind"].as_str().unwrap()), "{file}");
    }
}
