//! Real Envoys keep the policies that we send them. Needs `KUBELB_ENVOY_BIN`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod support;

use std::num::NonZeroU32;

use controller_kit::test_support::envoy_binary;
use l4_xds::ir::{Frontend, HealthCheck, Policy, Probe, Protocol, Seconds};
use l4_xds::server::Limits;
use support::echo::{self, Echo};
use support::envoy::{ask_tcp, ask_udp, free_port, talk};
use support::setup::{Setup, tcp, to};
use support::{frontend, listener, port};
use tokio::net::TcpStream;

/// The first bytes of a PROXY header of version 2 about TCP over IPv4, from 127.0.0.1.
const HEADER: &str = "\r\n\r\n\0\r\nQUIT\n!\u{11}\0\u{c}\u{7f}\0\0\u{1}";

fn with(policy: Policy, envoy_port: u16, backend: &Echo) -> Frontend {
    let mut frontend = tcp("web", envoy_port, backend);
    frontend.listeners[0].policy = policy;
    frontend
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_with_proxy_protocol_is_told_the_client_before_the_first_byte() {
    let Some(binary) = envoy_binary("PROXY protocol") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (web, number) = (echo::tcp("web").await, free_port().await);
    let policy = Policy {
        proxy_protocol: true,
        ..Policy::default()
    };
    setup.programmed(&[with(policy, number, &web)]).await;
    setup.envoy.until_ready().await;
    let said = ask_tcp("127.0.0.1", number, "hello").await.unwrap();
    assert!(said.starts_with(&format!("web:{HEADER}")), "{said:?}");

    setup.programmed(&[tcp("web", number, &web)]).await;
    let said = ask_tcp("127.0.0.1", number, "hello").await;
    assert_eq!(
        said.as_deref(),
        Some("web:hello"),
        "and no more when it is taken away"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_those_within_go_on() {
    let Some(binary) = envoy_binary("limits of connections") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (web, number) = (echo::tcp("web").await, free_port().await);
    let policy = Policy {
        max_connections: NonZeroU32::new(1),
        ..Policy::default()
    };
    setup.programmed(&[with(policy, number, &web)]).await;
    setup.envoy.until_ready().await;
    let mut first = TcpStream::connect(("127.0.0.1", number)).await.unwrap();
    assert_eq!(talk(&mut first, "a").await.as_deref(), Some("web:a"));
    assert_eq!(ask_tcp("127.0.0.1", number, "b").await, None);
    assert_eq!(talk(&mut first, "c").await.as_deref(), Some("web:c"));
    drop(first);
    let again = setup.envoy.until("a free place", async |_| {
        ask_tcp("127.0.0.1", number, "d")
            .await
            .filter(|said| said == "web:d")
    });
    again.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_udp_session_beyond_the_limit_gets_nothing() {
    let Some(binary) = envoy_binary("limits of UDP sessions") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (dns, number) = (echo::udp("dns").await, free_port().await);
    let mut udp = listener(Protocol::Udp, 53, number, to(&dns));
    udp.policy.max_connections = NonZeroU32::new(1);
    setup.programmed(&[frontend("dns", vec![udp])]).await;
    setup.envoy.until_ready().await;
    assert_eq!(ask_udp(number, b"a").await.as_deref(), Some(&b"dns:a"[..]));
    // Another client while the session of the first is remembered.
    assert_eq!(ask_udp(number, b"b").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_not_well_gets_no_connection_while_another_is() {
    let Some(binary) = envoy_binary("health checks") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (well, unwell, number) = (
        echo::tcp("well").await,
        echo::tcp("unwell").await,
        free_port().await,
    );
    let check = |port| HealthCheck {
        probe: Probe::Tcp,
        port,
        interval: Seconds::new(1).unwrap(),
        timeout: Seconds::new(1).unwrap(),
        healthy_threshold: NonZeroU32::MIN,
        unhealthy_threshold: NonZeroU32::MIN,
    };
    let backends = [to(&well), to(&unwell)].concat();
    let both = |check: HealthCheck| {
        let mut frontend = tcp("web", number, &well);
        frontend.listeners[0].backends = backends.clone();
        frontend.listeners[0].policy.health_check = Some(check);
        frontend
    };
    let healthy = "cluster.tenant-a/web/tcp/80.membership_healthy";
    setup.programmed(&[both(check(None))]).await;
    setup.envoy.until_ready().await;
    let all = setup.envoy.until("both to be well", async |envoy| {
        envoy.stat(healthy).await.filter(|count| *count == 2)
    });
    all.await;
    drop(unwell);
    let one = setup.envoy.until("one to be unwell", async |envoy| {
        envoy.stat(healthy).await.filter(|count| *count == 1)
    });
    one.await;
    for _ in 0..10 {
        let said = ask_tcp("127.0.0.1", number, "a").await;
        assert_eq!(said.as_deref(), Some("well:a"));
    }

    let closed = free_port().await;
    setup.programmed(&[both(check(Some(port(closed))))]).await;
    let none = setup.envoy.until("none to be well", async |envoy| {
        envoy.stat(healthy).await.filter(|count| *count == 0)
    });
    none.await;
    let said = setup.envoy.until("a backend although none is well", async |_| {
        ask_tcp("127.0.0.1", number, "a").await
    });
    assert_eq!(said.await, "well:a", "a broken health check stops no traffic");
}
