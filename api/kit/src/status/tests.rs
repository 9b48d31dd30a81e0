use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::*;
use crate::test_support::MemoryApi;

const SERVICES: &str = "/api/v1/namespaces/a/services";
const WEB: &str = "/api/v1/namespaces/a/services/web";

fn with_status(ips: &[&str]) -> Value {
    let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "status": {"loadBalancer": {"ingress": ingress}}})
}

fn setup(ips: &[&str]) -> (MemoryApi, Api<Service>, Service) {
    let server = MemoryApi::new();
    server.put(SERVICES, with_status(ips));
    let api = Api::namespaced(server.client(), "a");
    let current = serde_json::from_value(server.get(WEB).unwrap()).unwrap();
    (server, api, current)
}

/// Adds an address to those that others have put there.
fn add(ip: &'static str) -> impl Fn(&Service) -> Option<Value> {
    move |service| {
        let mut all: Vec<_> = addresses(service);
        if !all.iter().any(|other| other == ip) {
            all.push(ip.to_owned());
        }
        Some(json!({"loadBalancer": {"ingress": all.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>()}}))
    }
}

fn addresses(service: &Service) -> Vec<String> {
    let status = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = status
        .and_then(|status| status.ingress.clone())
        .unwrap_or_default();
    ingress.into_iter().filter_map(|entry| entry.ip).collect()
}

fn stored(server: &MemoryApi) -> Vec<String> {
    addresses(&serde_json::from_value(server.get(WEB).unwrap()).unwrap())
}

#[tokio::test]
async fn a_status_is_written_to_the_subresource_with_the_version_it_was_made_from() {
    let (server, api, current) = setup(&[]);
    let outcome = update_status(&api, &current, "ccm", add("1.1.1.1"))
        .await
        .unwrap();
    let StatusWrite::Written(Some(written)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(addresses(&written), ["1.1.1.1"]);
    assert_ne!(written.resource_version(), current.resource_version());
    let write = &server.fake().writes()[0];
    assert_eq!(write.line(), format!("PATCH {WEB}/status"));
    assert_eq!(
        write.body["metadata"]["resourceVersion"],
        current.resource_version().unwrap()
    );
    assert_eq!(stored(&server), ["1.1.1.1"]);
}

#[tokio::test]
async fn a_status_that_is_right_already_makes_no_request() {
    let (server, api, current) = setup(&["1.1.1.1"]);
    assert_eq!(
        update_status(&api, &current, "ccm", add("1.1.1.1"))
            .await
            .unwrap(),
        StatusWrite::Unchanged
    );
    assert_eq!(
        update_status(&api, &current, "ccm", |_| None).await.unwrap(),
        StatusWrite::Unchanged
    );
    assert!(server.fake().requests().is_empty());
}

#[tokio::test]
async fn what_another_controller_wrote_in_between_is_kept() {
    let (server, api, stale) = setup(&[]);
    server.put(SERVICES, with_status(&["9.9.9.9"]));
    // A new uid would mean another object; the server keeps the uid of an object that is replaced.
    assert_eq!(
        update_status(&api, &stale, "ccm", add("1.1.1.1")).await.unwrap(),
        StatusWrite::Written(None),
        "the caller has not seen the other's change"
    );
    assert_eq!(stored(&server), ["9.9.9.9", "1.1.1.1"]);
}

#[tokio::test]
async fn an_object_that_is_gone_or_another_one_by_now_gets_no_status() {
    let (server, api, stale) = setup(&[]);
    server.remove(WEB);
    assert_eq!(
        update_status(&api, &stale, "ccm", add("1.1.1.1")).await.unwrap(),
        StatusWrite::Gone
    );
    server.put(SERVICES, with_status(&[]));
    assert_eq!(
        update_status(&api, &stale, "ccm", add("1.1.1.1")).await.unwrap(),
        StatusWrite::Gone
    );
    assert!(stored(&server).is_empty());
}

#[tokio::test]
async fn somebody_who_writes_all_the_time_ends_in_an_error_and_not_in_a_loop() {
    let (server, api, stale) = setup(&[]);
    let writer = Arc::new(Mutex::new(0));
    let error = update_status(&api, &stale, "ccm", |service| {
        let mut count = writer.lock().unwrap();
        *count += 1;
        server.put(SERVICES, with_status(&[["2.2.2.2", "3.3.3.3"][*count % 2]]));
        add("1.1.1.1")(service)
    })
    .await
    .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.reason()),
        ("the status of web changes too fast", "Conflict")
    );
}

#[test]
fn a_merge_patch_replaces_lists_and_removes_nulls() {
    let target = json!({"a": [1, 2], "b": {"c": 1, "d": 2}, "e": 1});
    let patch = json!({"a": [3], "b": {"c": null}, "f": {"g": null}});
    assert_eq!(
        merged(&target, &patch),
        json!({"a": [3], "b": {"d": 2}, "e": 1, "f": {}})
    );
}
