use axum::{body::Body, body::to_bytes, http::Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use super::*;
use crate::telemetry;

fn admin() -> Admin {
    Admin {
        readiness: Readiness::new(),
        metrics: Metrics::new(),
        log: None,
    }
}

async fn ask(router: Router, method: &str, path: &str, body: &str) -> (u16, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn readiness_names_what_is_waited_for() {
    let admin = admin();
    let mut store = admin.readiness.register("store/Service");
    let _lease = admin.readiness.register("lease");
    let expected = "waiting for lease\nwaiting for store/Service\n".to_owned();
    assert_eq!(
        ask(admin.probe_router(), "GET", "/readyz", "").await,
        (503, expected)
    );
    store.ready();
    drop(_lease);
    assert_eq!(
        ask(admin.probe_router(), "GET", "/readyz", "").await,
        (200, "ok\n".into())
    );
    assert_eq!(ask(admin.probe_router(), "GET", "/livez", "").await.0, 200);
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_text() {
    let admin = admin();
    admin.metrics.gauge("nodes", "Nodes.").unwrap().set(3);
    let (status, text) = ask(admin.metrics_router(), "GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(text.contains("\nnodes 3\n"), "{text}");
    assert_eq!(ask(admin.probe_router(), "GET", "/metrics", "").await.0, 404);
}

#[tokio::test]
async fn the_log_level_can_be_set_and_a_bad_one_is_refused() {
    let (log, _alive) = telemetry::detached();
    let admin = Admin {
        log: Some(log),
        ..admin()
    };
    assert_eq!(
        ask(admin.probe_router(), "PUT", "/log-level", "debug\n").await,
        (200, "debug\n".into())
    );
    assert_eq!(
        ask(admin.probe_router(), "GET", "/log-level", "").await,
        (200, "debug\n".into())
    );
    assert_eq!(
        ask(admin.probe_router(), "PUT", "/log-level", "a=b=c").await.0,
        400
    );
    assert_eq!(
        ask(admin.metrics_router(), "PUT", "/log-level", "debug").await.0,
        404
    );
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn one_address_serves_everything_until_told_to_stop_and_is_not_shared() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let address: BindAddress = free.parse().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn({
        let (address, stop) = (address.clone(), stop.clone());
        async move { admin().serve(&address, &address, &stop).await }
    });
    while tokio::net::TcpStream::connect(&free).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(get(&free, "/livez").await.ends_with("ok\n"));
    assert!(get(&free, "/metrics").await.starts_with("HTTP/1.0 200"));
    let taken = admin()
        .serve(&address, &BindAddress::Disabled, &stop)
        .await
        .unwrap_err();
    assert_eq!(taken.to_string(), format!("cannot listen on {free} for probes"));
    stop.cancel();
    server.await.unwrap().unwrap();
}
