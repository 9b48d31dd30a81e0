use std::{collections::BTreeSet, sync::Mutex};

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;
use crate::{
    ready::Readiness,
    test_support::{FakeApi, MemoryApi, Reply},
};

const SERVICES: &str = "/api/v1/namespaces/a/services";

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "ClusterIP"}})
}

fn broken(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": "many"}})
}

fn names(watched: &Watched<Service>) -> Vec<String> {
    watched
        .snapshot()
        .iter()
        .map(|object| ObjectKey::of(object.as_ref()).to_string())
        .collect()
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn hook(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let heard = self.clone();
        move |event| {
            heard.0.lock().unwrap().push(match event {
                Event::Changed(key) => key.to_string(),
                Event::Synced => "synced".into(),
            });
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Until everything that can happen without time passing has happened.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn the_world_is_kept_sorted_and_changes_are_told() {
    let server = MemoryApi::new();
    server.put(SERVICES, service("b"));
    server.put(SERVICES, service("a"));
    server.put("/api/v1/namespaces/0/services", service("z"));
    let heard = Heard::default();
    let watched = Watch::<Service>::all(server.client())
        .on_event(heard.hook())
        .spawn(&CancellationToken::new());
    assert_eq!(watched.state(), State::Pending);
    watched.synced().await;
    assert_eq!(names(&watched), ["0/z", "a/a", "a/b"]);
    assert_eq!(watched.in_namespace("a").len(), 2);
    let (list, other) = (watched.list("a"), watched.list("0"));
    assert!(Arc::ptr_eq(&list, &watched.list("a")), "nothing has changed");
    assert_eq!(heard.take(), ["0/z", "a/a", "a/b", "synced"]);

    server.put(SERVICES, service("c"));
    server.remove("/api/v1/namespaces/0/services/z");
    settle().await;
    assert_eq!(names(&watched), ["a/a", "a/b", "a/c"]);
    assert_eq!(heard.take(), ["a/c", "0/z"]);
    assert_eq!((list.len(), watched.list("a").len()), (2, 3));
    assert_eq!((other.len(), watched.list("0").len()), (1, 0));
    assert!(watched.get("a", "c").is_some() && watched.get("0", "z").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_decoded_is_left_out_and_named_and_does_not_stall_the_rest() {
    let server = MemoryApi::new();
    server.put(SERVICES, broken("bad"));
    server.put(SERVICES, service("good"));
    let metrics = Metrics::new();
    let counts = WatchMetrics::new(&metrics, "t").unwrap();
    let watched = Watch::<Service>::all(server.client())
        .metrics(&counts)
        .spawn(&CancellationToken::new());
    watched.synced().await;
    assert_eq!(names(&watched), ["a/good"]);
    assert_eq!(watched.undecodable(), [ObjectKey::new("a", "bad")]);
    assert!(
        metrics
            .text()
            .unwrap()
            .contains(r#"t_watch_undecodable_total{kind="Service"} 1"#)
    );

    server.put(SERVICES, service("bad"));
    settle().await;
    assert_eq!(names(&watched), ["a/bad", "a/good"]);
    assert!(watched.undecodable().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_becomes_undecodable_stays_as_it_last_was_and_goes_when_it_is_deleted() {
    let server = MemoryApi::new();
    server.put(SERVICES, service("web"));
    let watched = Watch::<Service>::all(server.client()).spawn(&CancellationToken::new());
    watched.synced().await;
    server.put(SERVICES, broken("web"));
    settle().await;
    assert_eq!(watched.undecodable().len(), 1);
    assert_eq!(
        watched
            .get("a", "web")
            .unwrap()
            .spec
            .as_ref()
            .unwrap()
            .type_
            .as_deref(),
        Some("ClusterIP")
    );
    server.remove(&format!("{SERVICES}/web"));
    settle().await;
    assert!(names(&watched).is_empty() && watched.undecodable().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_optional_kind_that_is_not_installed_is_empty_and_synced_and_found_once_it_is() {
    let server = MemoryApi::new();
    server.uninstall("services");
    let (heard, readiness) = (Heard::default(), Readiness::new());
    let watch = Watch::<Service>::all(server.client())
        .optional()
        .ready(readiness.register("store/Service"));
    let watched = watch.on_event(heard.hook()).spawn(&CancellationToken::new());
    watched.synced().await;
    assert_eq!((watched.state(), watched.is_synced()), (State::Absent, true));
    assert!(readiness.is_ready() && heard.take() == ["synced"]);

    server.install("services");
    server.put(SERVICES, service("web"));
    tokio::time::sleep(ABSENT_RETRY).await;
    settle().await;
    assert_eq!(
        (watched.state(), names(&watched)),
        (State::Synced, vec!["a/web".to_owned()])
    );
    assert_eq!(heard.take(), ["a/web", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_must_be_there_keeps_the_process_unready_while_it_is_missing() {
    let server = MemoryApi::new();
    server.uninstall("services");
    let readiness = Readiness::new();
    let watch = Watch::<Service>::all(server.client()).ready(readiness.register("store/Service"));
    let watched = watch.spawn(&CancellationToken::new());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(readiness.waiting(), ["store/Service"]);
    assert!(Synced::of(&[&watched]).is_none());
    server.install("services");
    Synced::wait(&[&watched]).await;
    assert!(Synced::of(&[&watched]).is_some() && readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_dropped() {
    let server = MemoryApi::new();
    let mut object = service("web");
    object["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    object["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"});
    server.put(SERVICES, object);
    let watch = Watch::<Service>::namespaced(server.client(), "a").modify(|service| service.spec = None);
    let watched = watch.spawn(&CancellationToken::new());
    watched.synced().await;
    let web = watched.get("a", "web").unwrap();
    assert_eq!(web.metadata.annotations.as_ref().unwrap().len(), 1);
    assert!(web.metadata.managed_fields.is_none() && web.spec.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_kind_known_at_run_time_only_can_be_watched_and_compared() {
    let server = MemoryApi::new();
    server.put(SERVICES, service("web"));
    let resource = ApiResource::erase::<Service>(&());
    let watched = Watch::dynamic(server.client(), &resource, Some("a")).spawn(&CancellationToken::new());
    watched.synced().await;
    let objects = watched.objects_in("a").unwrap();
    assert_eq!(objects[0].id().to_string(), "Service a/web");
    assert_eq!(objects[0].value()["spec"]["type"], "ClusterIP");
    assert_eq!(objects, watched.objects().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_relist_after_lost_events_tells_only_what_differs() {
    let server = MemoryApi::new();
    ["changed", "gone", "same"]
        .iter()
        .for_each(|name| server.put(SERVICES, service(name)));
    let (memory, lists) = (server.clone(), Arc::new(Mutex::new(0)));
    let api = FakeApi::new(move |request| {
        if request.query.contains_key("watch") && *lists.lock().unwrap() == 1 {
            memory.put(
                SERVICES,
                json!({"metadata": {"name": "changed"}, "spec": {"type": "NodePort"}}),
            );
            memory.remove(&format!("{SERVICES}/gone"));
            return Reply::error(410, "Expired");
        }
        if !request.query.contains_key("watch") {
            *lists.lock().unwrap() += 1;
        }
        memory.reply(request)
    });
    let heard = Heard::default();
    let watched = Watch::<Service>::all(api.client())
        .on_event(heard.hook())
        .spawn(&CancellationToken::new());
    watched.synced().await;
    heard.take();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(heard.take(), ["a/changed", "a/gone"]);
    assert_eq!(names(&watched), ["a/changed", "a/same"]);
}

#[tokio::test(start_paused = true)]
async fn an_optional_kind_that_is_uninstalled_later_leaves_an_empty_store() {
    let server = MemoryApi::new();
    server.put(SERVICES, service("web"));
    // Watches end after a while, and are then refused.
    let memory = server.clone();
    let api = FakeApi::new(move |request| match memory.get(&format!("{SERVICES}/web")) {
        None => Reply::error(404, "NotFound"),
        Some(_) if request.query.contains_key("watch") => Reply::events(Box::pin(ending())),
        Some(_) => memory.reply(request),
    });
    let heard = Heard::default();
    let watched = Watch::<Service>::all(api.client())
        .optional()
        .on_event(heard.hook());
    let watched = watched.spawn(&CancellationToken::new());
    watched.synced().await;
    settle().await;
    heard.take();
    server.uninstall("services");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((watched.state(), names(&watched)), (State::Absent, vec![]));
    assert_eq!(heard.take(), ["a/web", "synced"]);
}

fn ending() -> impl futures::Stream<Item = Value> {
    use futures::StreamExt;
    futures::stream::once(tokio::time::sleep(Duration::from_secs(5))).filter_map(|()| async { None })
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_stopped_asks_for_nothing_more_and_keeps_what_it_had() {
    let server = MemoryApi::new();
    server.put(SERVICES, service("web"));
    let stop = CancellationToken::new();
    let watched = Watch::<Service>::all(server.client()).spawn(&stop);
    watched.synced().await;
    stop.cancel();
    settle().await;
    server.put(SERVICES, service("late"));
    settle().await;
    assert_eq!(names(&watched), ["a/web"]);
}

fn versioned(name: &str, uid: &str, version: u32) -> Service {
    let metadata = json!({"namespace": "a", "name": name, "uid": uid, "resourceVersion": version.to_string(),
        "managedFields": [{"manager": "x"}]});
    serde_json::from_value(json!({"metadata": metadata})).unwrap()
}

fn version_of(store: &Store<Service>, name: &str) -> Option<String> {
    let held = store.get(&ObjectKey::new("a", name))?;
    held.metadata.resource_version.clone()
}

#[test]
fn what_was_taken_in_is_no_news_when_the_watch_brings_it() {
    let store = Store::new(None);
    store.replace(vec![store.stripped(versioned("web", "u", 7))], BTreeSet::new());
    store.advance(store.stripped(versioned("web", "u", 9)));
    assert_eq!(version_of(&store, "web").as_deref(), Some("9"));
    let key = ObjectKey::new("a", "web");
    assert!(store.get(&key).unwrap().metadata.managed_fields.is_none());
    assert!(!store.insert(key.clone(), store.stripped(versioned("web", "u", 9))));
    assert!(store.insert(key, store.stripped(versioned("web", "u", 10))));
}

#[test]
fn only_a_later_version_of_an_object_that_is_there_is_taken_in() {
    let store = Store::new(None);
    store.replace(vec![store.stripped(versioned("web", "u", 10))], BTreeSet::new());
    store.advance(store.stripped(versioned("web", "u", 9)));
    assert_eq!(
        version_of(&store, "web").as_deref(),
        Some("10"),
        "the watch was faster"
    );
    store.advance(store.stripped(versioned("web", "other", 11)));
    assert_eq!(
        version_of(&store, "web").as_deref(),
        Some("10"),
        "another object of the name"
    );
    store.advance(store.stripped(versioned("gone", "u", 11)));
    assert_eq!(version_of(&store, "gone"), None, "it was deleted in the meantime");
}

#[test]
fn each_version_becomes_json_once() {
    let resource = ApiResource::erase::<Service>(&());
    let watched = Watched::fixed([versioned("web", "u", 7)], &resource);
    let first = watched.objects().unwrap();
    assert!(first[0].is(&watched.objects_in("a").unwrap()[0]));
    watched.take_in(versioned("web", "u", 8));
    let later = watched.objects_where(|_| true).unwrap();
    assert_eq!(later[0].resource_version(), Some("8"));
}
