//! Real Envoys do with our configuration what we mean. Needs `KUBELB_ENVOY_BIN`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod support;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use controller_kit::test_support::envoy_binary;
use l4_xds::ir::{Address, Backend, Balancing, Breaker, HealthCheck, Policy, Probe, Protocol, Seconds};
use l4_xds::server::Limits;
use support::control_plane::{Running, fleet_key};
use support::echo;
use support::envoy::{Envoy, ask_tcp, ask_udp, ask_udp_at, free_port, get, talk};
use support::pki::Ca;
use support::setup::{FLEET, Setup, programmed, tcp, to};
use support::{frontend, id, listener, port, snapshot};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_ready_only_with_its_configuration_and_then_serves_tcp_and_udp() {
    let Some(binary) = envoy_binary("TCP and UDP") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    setup
        .envoy
        .until("Envoy has connected", async |envoy| {
            envoy
                .stat("control_plane.connected_state")
                .await
                .filter(|state| *state == 1)
        })
        .await;
    assert_eq!(
        get(setup.envoy.readiness, "/ready").await,
        None,
        "ready without configuration"
    );

    let (web, dns) = (echo::tcp("web").await, echo::udp("dns").await);
    let (web_port, dns_port) = (free_port().await, free_port().await);
    let dns = [
        listener(Protocol::Udp, 53, dns_port, to(&dns)),
        listener(Protocol::Tcp, 53, dns_port, to(&web)),
    ];
    setup
        .programmed(&[tcp("web", web_port, &web), frontend("dns", dns.into())])
        .await;
    setup.envoy.until_ready().await;

    assert_eq!(
        ask_tcp("127.0.0.1", web_port, "hello").await.as_deref(),
        Some("web:hello")
    );
    assert_eq!(
        ask_tcp("::1", web_port, "hello").await.as_deref(),
        Some("web:hello"),
        "over IPv6"
    );
    assert_eq!(
        ask_tcp("127.0.0.1", dns_port, "hello").await.as_deref(),
        Some("web:hello"),
        "same number as UDP"
    );
    assert_eq!(
        ask_udp(dns_port, b"hello").await.as_deref(),
        Some(&b"dns:hello"[..])
    );
    let large = vec![b'x'; 4000];
    assert_eq!(
        ask_udp(dns_port, &large).await.map(|answer| answer.len()),
        Some(4004),
        "larger than 1500 bytes"
    );

    let (status, metrics) = get(setup.envoy.readiness, "/stats/prometheus").await.unwrap();
    assert_eq!(
        (status, metrics.contains("envoy_cluster_upstream_cx_total")),
        (200, true)
    );
    assert_eq!(
        get(setup.envoy.readiness, "/quitquitquit")
            .await
            .map(|(status, _)| status),
        Some(404)
    );
}

/// Every value of every field of a policy at least once.
fn policies() -> Vec<Policy> {
    let check = |probe, port| HealthCheck {
        probe,
        port,
        interval: Seconds::new(300).unwrap(),
        timeout: Seconds::new(1).unwrap(),
        healthy_threshold: NonZeroU32::MIN,
        unhealthy_threshold: NonZeroU32::MIN,
    };
    let http = |host: Option<&str>, statuses: &[u16]| Probe::Http {
        path: "/healthz?full=1".to_owned(),
        host: host.map(str::to_owned),
        statuses: statuses.to_vec(),
    };
    let grpc = |service: Option<&str>, authority: Option<&str>| Probe::Grpc {
        service: service.map(str::to_owned),
        authority: authority.map(str::to_owned),
    };
    let probes = [
        Probe::Tcp,
        http(None, &[]),
        http(Some("web.example.com:8080"), &[100, 204, 599]),
        grpc(None, None),
        grpc(Some("shop.Cart"), Some("cart.example.com")),
    ];
    let checks = probes
        .into_iter()
        .zip([None, Some(port(8080))].into_iter().cycle());
    let balancings = [
        Balancing::RoundRobin,
        Balancing::LeastRequest,
        Balancing::Random,
        Balancing::SourceIp,
    ];
    let balanced = balancings.into_iter().map(|balancing| Policy {
        balancing,
        ..Policy::default()
    });
    let full = checks.map(|(probe, port)| Policy {
        connect_timeout: Seconds::new(60),
        idle_timeout: Seconds::new(86_400),
        max_connections: NonZeroU32::new(1_000_000),
        breaker: Breaker {
            max_connections: Some(NonZeroU32::MIN),
            max_pending: Some(NonZeroU32::MIN),
        },
        proxy_protocol: true,
        health_check: Some(check(probe, port)),
        ..Policy::default()
    });
    balanced.chain(full).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_accepts_everything_that_the_translation_can_say() {
    let Some(binary) = envoy_binary("all of the translation") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let node = Backend {
        address: Address::Ip("2001:db8::1".parse().unwrap()),
        port: port(30080),
    };
    let name = Backend {
        address: Address::Hostname("localhost".parse().unwrap()),
        port: port(30080),
    };
    let mut listeners = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for policy in policies() {
            for backends in [vec![], vec![node.clone()], vec![name.clone(), node.clone()]] {
                let number = 1 + u16::try_from(listeners.len()).unwrap();
                let listener = listener(protocol, number, free_port().await, backends);
                listeners.push(l4_xds::Listener {
                    policy: policy.clone(),
                    ..listener
                });
            }
        }
    }
    setup.programmed(&[frontend("all", listeners)]).await;
    setup.envoy.until_ready().await;
    assert_eq!(setup.plane.counter("nacks_total", ""), 0);
    assert_eq!(
        setup.envoy.stat("cluster_manager.warming_clusters").await,
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_change_move_new_connections_and_touch_nothing_else() {
    let Some(binary) = envoy_binary("endpoint changes") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (one, two, number) = (echo::tcp("one").await, echo::tcp("two").await, free_port().await);
    setup.programmed(&[tcp("web", number, &one)]).await;
    setup.envoy.until_ready().await;
    let mut open = TcpStream::connect(("127.0.0.1", number)).await.unwrap();
    assert_eq!(talk(&mut open, "a").await.as_deref(), Some("one:a"));
    let cds = setup.envoy.stat("cluster_manager.cds.update_success").await;
    let lds = setup.envoy.stat("listener_manager.lds.update_success").await;

    setup.programmed(&[tcp("web", number, &two)]).await;
    setup
        .envoy
        .until("new connections reach the new node", async |_| {
            ask_tcp("127.0.0.1", number, "b")
                .await
                .filter(|answer| answer == "two:b")
        })
        .await;
    assert_eq!(
        talk(&mut open, "c").await.as_deref(),
        Some("one:c"),
        "an open connection was moved or cut"
    );
    assert_eq!(setup.envoy.stat("cluster_manager.cds.update_success").await, cds);
    assert_eq!(setup.envoy.stat("listener_manager.lds.update_success").await, lds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_load_balancer_takes_no_new_connections_and_keeps_open_ones() {
    let Some(binary) = envoy_binary("removal") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (web, gone, stays) = (echo::tcp("web").await, free_port().await, free_port().await);
    setup
        .programmed(&[tcp("gone", gone, &web), tcp("stays", stays, &web)])
        .await;
    setup.envoy.until_ready().await;
    let mut open = TcpStream::connect(("127.0.0.1", gone)).await.unwrap();
    assert_eq!(talk(&mut open, "a").await.as_deref(), Some("web:a"));

    setup.programmed(&[tcp("stays", stays, &web)]).await;
    setup
        .envoy
        .until("the cluster is gone", async |envoy| {
            envoy
                .admin("/clusters")
                .await
                .filter(|page| !page.contains("tenant-a/gone/"))
        })
        .await;
    assert_eq!(ask_tcp("127.0.0.1", gone, "b").await, None);
    assert_eq!(ask_tcp("127.0.0.1", stays, "b").await.as_deref(), Some("web:b"));
}

/// Without our sending the endpoints again, the changed cluster would warm until its fetch timeout of 15 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_cluster_is_in_use_at_once() {
    let Some(binary) = envoy_binary("cluster changes") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (web, number) = (echo::tcp("web").await, free_port().await);
    setup.programmed(&[tcp("web", number, &web)]).await;
    setup.envoy.until_ready().await;
    let mut sticky = tcp("web", number, &web);
    sticky.listeners[0].policy.balancing = Balancing::SourceIp;
    let started = std::time::Instant::now();
    setup.programmed(&[sticky]).await;
    setup
        .envoy
        .until("the changed cluster has warmed", async |envoy| {
            let ring = envoy
                .stat("cluster.tenant-a/web/tcp/80.ring_hash_lb.size")
                .await
                .filter(|size| *size > 0);
            let warming = envoy.stat("cluster_manager.warming_clusters").await;
            ring.filter(|_| warming == Some(0))
        })
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        started.elapsed()
    );
    assert_eq!(ask_tcp("127.0.0.1", number, "a").await.as_deref(), Some("web:a"));
    assert_eq!(
        setup
            .envoy
            .stat("cluster.tenant-a/web/tcp/80.init_fetch_timeout")
            .await
            .unwrap_or(0),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_envoy_cannot_bind_is_blamed_on_its_load_balancer_and_others_work() {
    let Some(binary) = envoy_binary("NACK") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let web = echo::tcp("web").await;
    let (old, new) = (free_port().await, free_port().await);
    setup.programmed(&[tcp("old", old, &web)]).await;
    setup.envoy.until_ready().await;
    let squatter = tokio::net::TcpListener::bind("[::]:0").await.unwrap();
    let taken = squatter.local_addr().unwrap().port();

    let all = snapshot(&[
        tcp("bad", taken, &web),
        tcp("new", new, &web),
        tcp("old", old, &web),
    ]);
    setup.plane.set(FLEET, all.clone());
    let bad = all.content_version(&id("bad")).cloned().unwrap();
    setup
        .plane
        .reported("bad is rejected and the others are programmed", |report| {
            let fleet = report.fleets.get(&fleet_key(FLEET)).cloned().unwrap_or_default();
            let has = |name: &str, what: fn(&l4_xds::LoadBalancerVoices) -> usize| {
                fleet.load_balancers.get(&id(name)).map_or(0, what)
            };
            let rejected = |report: &l4_xds::LoadBalancerVoices| report.rejected.len();
            let programmed = |report: &l4_xds::LoadBalancerVoices| report.programmed.len();
            (has("bad", rejected), has("bad", programmed)) == (1, 0)
                && (has("new", rejected), has("new", programmed)) == (0, 1)
                && (has("old", rejected), has("old", programmed)) == (0, 1)
        })
        .await;
    let report = setup.plane.reports.subscribe().borrow().clone();
    let words = &report.fleets[&fleet_key(FLEET)].load_balancers[&id("bad")].rejected[&bad];
    eprintln!("Envoy says: {words}");
    assert!(words.contains("cannot bind"), "{words}");
    assert_eq!(ask_tcp("127.0.0.1", old, "a").await.as_deref(), Some("web:a"));
    assert_eq!(ask_tcp("127.0.0.1", new, "a").await.as_deref(), Some("web:a"));
    assert_eq!(
        setup.plane.counter("nacks_total", "Listener"),
        1,
        "a NACK must not be answered with the same again"
    );

    // When it can be bound after all, a new content version is tried again.
    drop(squatter);
    let mut better = tcp("bad", taken, &web);
    better.listeners[0].port = port(81);
    setup
        .programmed(&[better, tcp("new", new, &web), tcp("old", old, &web)])
        .await;
    assert_eq!(ask_tcp("127.0.0.1", taken, "a").await.as_deref(), Some("web:a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_on_without_a_control_plane_and_a_new_one_pushes_nothing() {
    let Some(binary) = envoy_binary("control plane restart") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (web, number) = (echo::tcp("web").await, free_port().await);
    let frontends = [tcp("web", number, &web)];
    setup.programmed(&frontends).await;
    setup.envoy.until_ready().await;
    let Setup { ca, plane, mut envoy } = setup;
    let address = plane.address;
    plane.stop().await;
    envoy
        .until("Envoy has noticed", async |envoy| {
            envoy
                .stat("control_plane.connected_state")
                .await
                .filter(|state| *state == 0)
        })
        .await;
    assert_eq!(ask_tcp("127.0.0.1", number, "a").await.as_deref(), Some("web:a"));

    let plane = Running::start_at(address, &ca.material(&[&ca]), Limits::default()).await;
    // It does not know anything yet, and must not say "nothing".
    plane
        .reported("Envoy is back", |report| !report.fleets.is_empty())
        .await;
    plane.set(FLEET, snapshot(&frontends));
    plane
        .reported("web is programmed", |report| {
            programmed(report, &snapshot(&frontends))
        })
        .await;
    assert_eq!(plane.counter("grpc_responses_total", ""), 0);
    assert_eq!(ask_tcp("127.0.0.1", number, "a").await.as_deref(), Some("web:a"));
}

/// Old and new CA overlap; afterwards only the new one counts, on both sides. Neither side restarts.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_without_a_restart() {
    let Some(binary) = envoy_binary("certificate rotation") else {
        return;
    };
    let limits = Limits {
        stream_max_age: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut setup = Setup::start(binary, limits).await;
    let (web, number, later) = (echo::tcp("web").await, free_port().await, free_port().await);
    setup.programmed(&[tcp("web", number, &web)]).await;
    setup.envoy.until_ready().await;

    let new = Ca::new("xds, second");
    // The new one first: up to 1.39 Envoy's page of certificates shows only the first of a bundle.
    let both = format!("{}{}", new.pem(), setup.ca.pem());
    setup
        .plane
        .tls
        .reload(&setup.ca.material(&[&setup.ca, &new]))
        .unwrap();
    let before = serials(&setup.envoy).await.unwrap();
    setup.envoy.replace_secret(&new.fleet(FLEET), &both);
    let replaced = async |envoy: &Envoy| {
        serials(envoy)
            .await
            .filter(|serials| serials.difference(&before).count() == 2)
    };
    setup.envoy.until("Envoy uses the new files", replaced).await;
    setup.plane.tls.reload(&new.material(&[&new])).unwrap();
    let refused = setup.plane.counter("refused_total", "tls_handshake");

    // A change that arrives shows that a stream under the new certificates is open.
    setup
        .plane
        .reported("streams of the old certificates are over", |report| {
            report.fleets.is_empty()
        })
        .await;
    setup
        .programmed(&[tcp("web", number, &web), tcp("later", later, &web)])
        .await;
    assert_eq!(ask_tcp("127.0.0.1", later, "a").await.as_deref(), Some("web:a"));
    assert_eq!(setup.plane.counter("refused_total", "tls_handshake"), refused);
}

/// The serial numbers of all certificates that Envoy has in use: its own and the CA it trusts.
async fn serials(envoy: &Envoy) -> Option<BTreeSet<String>> {
    let page = envoy.admin("/certs").await?;
    let lines = page.lines().filter(|line| line.contains("serial_number"));
    Some(lines.map(|line| line.trim().to_owned()).collect())
        .filter(|serials: &BTreeSet<_>| serials.len() >= 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_speaks_state_of_the_world_is_served_alike() {
    let Some(binary) = envoy_binary("state of the world") else {
        return;
    };
    let ca = Ca::new("xds");
    let plane = Running::start(&ca.material(&[&ca]), Limits::default()).await;
    let world = |text: String| text.replace("DELTA_GRPC", "GRPC");
    let envoy = Envoy::start_with(&binary, plane.address, &ca.fleet(FLEET), &ca.pem(), world).await;
    let mut setup = Setup { ca, plane, envoy };
    let (one, two, dns) = (
        echo::tcp("one").await,
        echo::tcp("two").await,
        echo::udp("dns").await,
    );
    let (web_port, dns_port) = (free_port().await, free_port().await);
    let dns = frontend("dns", vec![listener(Protocol::Udp, 53, dns_port, to(&dns))]);
    setup.programmed(&[tcp("web", web_port, &one), dns.clone()]).await;
    setup.envoy.until_ready().await;
    assert_eq!(
        ask_tcp("127.0.0.1", web_port, "a").await.as_deref(),
        Some("one:a")
    );
    assert_eq!(ask_udp(dns_port, b"a").await.as_deref(), Some(&b"dns:a"[..]));

    setup.programmed(&[tcp("web", web_port, &two), dns.clone()]).await;
    let moved = setup.envoy.until("the new endpoint is in use", async |_| {
        ask_tcp("127.0.0.1", web_port, "b")
            .await
            .filter(|said| said == "two:b")
    });
    moved.await;
    setup.programmed(&[dns]).await;
    let gone = setup.envoy.until("the listener is gone", async |envoy| {
        let active = envoy.stat("listener_manager.total_listeners_active").await;
        ask_tcp("127.0.0.1", web_port, "c")
            .await
            .is_none()
            .then_some(active)
    });
    gone.await;
    assert_eq!(ask_udp(dns_port, b"d").await.as_deref(), Some(&b"dns:d"[..]));
    assert_eq!(setup.plane.counter("nacks_total", ""), 0);
}

/// What Envoy says of its listeners and clusters of a load balancer, word for word but for times.
async fn configured(envoy: &Envoy, name: &str) -> Option<Vec<String>> {
    let page = envoy.admin("/config_dump?include_eds").await?;
    let dump: serde_json::Value = serde_json::from_str(&page).ok()?;
    let sections = dump["configs"].as_array()?.iter();
    let lists = sections.flat_map(|section| section.as_object().into_iter().flat_map(|map| map.values()));
    let entries = lists.filter_map(|list| list.as_array()).flatten();
    let mut found: Vec<String> = entries
        .map(ToString::to_string)
        .filter(|entry| entry.contains(&format!("tenant-a/{name}/")))
        .collect();
    found.sort();
    Some(found).filter(|found| !found.is_empty())
}

/// Others come, change and go. What stays is neither touched nor refused, as Envoy itself tells.
#[tokio::test(flavor = "multi_thread")]
async fn under_churn_envoy_refuses_nothing_and_touches_no_listener_that_stays() {
    let Some(binary) = envoy_binary("churn") else {
        return;
    };
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (web, stays) = (echo::tcp("web").await, free_port().await);
    let others = [free_port().await, free_port().await, free_port().await];
    let steady = tcp("stays", stays, &web);
    setup.programmed(std::slice::from_ref(&steady)).await;
    setup.envoy.until_ready().await;
    let mut open = TcpStream::connect(("127.0.0.1", stays)).await.unwrap();
    assert_eq!(talk(&mut open, "a").await.as_deref(), Some("web:a"));
    let before = configured(&setup.envoy, "stays").await.unwrap();

    for round in 0..12_usize {
        let mut all = vec![steady.clone()];
        for (index, number) in others
            .iter()
            .enumerate()
            .filter(|(index, _)| (round + index) % 3 != 0)
        {
            let mut other = tcp(&format!("other-{index}"), *number, &web);
            if round % 2 == 1 {
                other.listeners[0].policy.balancing = Balancing::SourceIp;
                other.listeners[0].policy.max_connections = NonZeroU32::new(7);
            }
            all.push(other);
        }
        setup.programmed(&all).await;
    }
    setup.programmed(&[steady]).await;
    let gone = setup.envoy.until("the others are gone", async |envoy| {
        let page = envoy.admin("/clusters").await?;
        (!page.contains("tenant-a/other-")).then_some(())
    });
    gone.await;

    assert_eq!(
        configured(&setup.envoy, "stays").await.unwrap(),
        before,
        "as the admin page has it"
    );
    assert_eq!(
        talk(&mut open, "b").await.as_deref(),
        Some("web:b"),
        "its open connection"
    );
    let page = setup
        .envoy
        .admin("/stats?filter=update_rejected|update_failure")
        .await
        .unwrap();
    let refused: Vec<_> = page
        .lines()
        .filter(|line| line.contains("update_rejected") && !line.ends_with(": 0"))
        .collect();
    assert_eq!(refused, [""; 0]);
    let known = [
        "cluster_manager.cds.update_rejected: 0",
        "listener_manager.lds.update_rejected: 0",
    ];
    assert!(known.iter().all(|line| page.contains(line)), "{page}");
    assert_eq!(setup.plane.counter("nacks_total", ""), 0);
}

/// Clients of both families reach backends of both: Envoy stands between.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_either_family_reach_backends_of_either() {
    let Some(binary) = envoy_binary("both families") else {
        return;
    };
    if tokio::net::TcpListener::bind("[::1]:0").await.is_err() {
        eprintln!("NOT RUN: this machine has no IPv6 on loopback");
        return;
    }
    let mut setup = Setup::start(binary, Limits::default()).await;
    let (four, six) = (echo::tcp("four").await, echo::tcp_at("[::1]:0", "six").await);
    let (dns_four, dns_six) = (echo::udp("four").await, echo::udp_at("[::1]:0", "six").await);
    let mut frontends = Vec::new();
    let mut ports = Vec::new();
    for (name, tcp, udp) in [("four", &four, &dns_four), ("six", &six, &dns_six)] {
        let number = free_port().await;
        let both = vec![
            listener(Protocol::Tcp, 53, number, to(tcp)),
            listener(Protocol::Udp, 53, number, to(udp)),
        ];
        frontends.push(frontend(name, both));
        ports.push((name, number));
    }
    setup.programmed(&frontends).await;
    setup.envoy.until_ready().await;
    for (name, number) in ports {
        for client in ["127.0.0.1", "::1"] {
            let wanted = format!("{name}:a");
            assert_eq!(
                ask_tcp(client, number, "a").await,
                Some(wanted.clone()),
                "TCP from {client}"
            );
            let answer = ask_udp_at(client, number, b"a").await;
            assert_eq!(answer, Some(wanted.into_bytes()), "UDP from {client} to {name}");
        }
    }
}

/// As after a restart of the manager: the client is back before anybody knows what there is, and something has changed.
#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_of_the_world_that_comes_back_to_another_one_refuses_nothing() {
    let Some(binary) = envoy_binary("state of the world after a restart") else {
        return;
    };
    let ca = Ca::new("xds");
    let plane = Running::start(&ca.material(&[&ca]), Limits::default()).await;
    let world = |text: String| text.replace("DELTA_GRPC", "GRPC");
    let envoy = Envoy::start_with(&binary, plane.address, &ca.fleet(FLEET), &ca.pem(), world).await;
    let mut setup = Setup { ca, plane, envoy };
    let web = echo::tcp("web").await;
    let [stays, goes, comes] = [free_port().await, free_port().await, free_port().await];
    setup
        .programmed(&[tcp("stays", stays, &web), tcp("goes", goes, &web)])
        .await;
    setup.envoy.until_ready().await;
    let mut open = TcpStream::connect(("127.0.0.1", stays)).await.unwrap();
    assert_eq!(talk(&mut open, "a").await.as_deref(), Some("web:a"));

    let Setup { ca, plane, envoy } = setup;
    let address = plane.address;
    plane.stop().await;
    let plane = Running::start_at(address, &ca.material(&[&ca]), Limits::default()).await;
    plane
        .reported("Envoy is back", |report| !report.fleets.is_empty())
        .await;
    let mut setup = Setup { ca, plane, envoy };
    setup
        .programmed(&[tcp("comes", comes, &web), tcp("stays", stays, &web)])
        .await;
    let gone = setup.envoy.until("what is gone is gone", async |envoy| {
        let page = envoy.admin("/clusters").await?;
        (!page.contains("tenant-a/goes/")).then_some(())
    });
    gone.await;
    assert_eq!(ask_tcp("127.0.0.1", goes, "b").await, None);
    assert_eq!(ask_tcp("127.0.0.1", comes, "b").await.as_deref(), Some("web:b"));
    assert_eq!(
        talk(&mut open, "b").await.as_deref(),
        Some("web:b"),
        "its open connection"
    );
    assert_eq!(setup.plane.counter("nacks_total", ""), 0);
}
