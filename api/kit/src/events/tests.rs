use k8s_openapi::api::core::v1::Service;
use kube::Resource;
use serde_json::{Value, json};

use super::*;
use crate::test_support::{FakeApi, MemoryApi, NOW, Reply};

fn web() -> ObjectReference {
    let service: Service =
        serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "web", "uid": "u1"}})).unwrap();
    service.object_ref(&())
}

fn recorder(client: Client) -> Recorder {
    Recorder::new(client, "kubelb.k8c.io/ccm", "ccm-0")
}

#[tokio::test]
async fn an_event_is_written_where_its_object_is_and_says_who_says_it() {
    let server = MemoryApi::new();
    let notice = Notice::warning("NoEndpoints", "Converting", "Service has no ready endpoints");
    assert!(recorder(server.client()).publish(&notice, &web()).await.unwrap());
    let write = &server.fake().writes()[0];
    assert_eq!(write.line(), "POST /apis/events.k8s.io/v1/namespaces/a/events");
    let seen = |field: &str| write.body[field].clone();
    assert_eq!(seen("regarding")["uid"], "u1");
    assert_eq!(
        [seen("type"), seen("reason")],
        ["Warning", "NoEndpoints"].map(Value::from)
    );
    assert_eq!(
        [seen("reportingController"), seen("reportingInstance")],
        ["kubelb.k8c.io/ccm", "ccm-0"].map(Value::from)
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_is_not_said_again_for_ten_minutes_but_something_new_is() {
    let server = MemoryApi::new();
    let recorder = recorder(server.client());
    let notice = Notice::normal("Programmed", "Reporting", "address 1.1.1.1");
    assert!(recorder.publish(&notice, &web()).await.unwrap());
    assert!(!recorder.publish(&notice, &web()).await.unwrap());
    assert!(
        recorder
            .publish(
                &Notice {
                    note: "address 2.2.2.2".into(),
                    ..notice.clone()
                },
                &web()
            )
            .await
            .unwrap()
    );
    let other = ObjectReference {
        name: Some("other".into()),
        ..web()
    };
    assert!(recorder.clone().publish(&notice, &other).await.unwrap());
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(recorder.publish(&notice, &web()).await.unwrap());
    assert_eq!(server.fake().writes().len(), 4);
}

#[tokio::test]
async fn what_could_not_be_published_is_tried_the_next_time() {
    let api = FakeApi::new(|_| Reply::error(403, "Forbidden"));
    let recorder = recorder(api.client());
    let notice = Notice::normal("Programmed", "Reporting", "x");
    assert_eq!(
        recorder.publish(&notice, &web()).await.unwrap_err().to_string(),
        "cannot publish event Programmed"
    );
    recorder.say(&notice, &web()).await;
    assert_eq!(api.writes().len(), 2);
}

#[tokio::test]
async fn long_names_and_notes_are_cut_to_what_the_api_server_takes() {
    let about = ObjectReference {
        name: Some("x".repeat(253)),
        namespace: None,
        ..web()
    };
    let notice = Notice::normal("Reason", "Action", "ü".repeat(1000));
    let event = recorder(MemoryApi::new().client()).event(&notice, &about, NOW);
    assert!(event.metadata.name.unwrap().len() <= 253);
    assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(event.note.unwrap().len(), 1024);
}
