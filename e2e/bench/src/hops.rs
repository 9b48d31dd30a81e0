//! P11: requests per second and per core of Envoy, and latency, through one hop and through two.
//!
//! One hop is the product's: the hub's Gateway leads to the tenant's nodes. Two hops put the tenant's L4 Envoy
//! between them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use testbed::{Lab, Progress};

use crate::clusters::{TENANT, create, objects, until};
use crate::load::{self, Load, Outcome};
use crate::probe::{BEAT, Unexpected, client, until_served};
use crate::scene::{RAW_NAMESPACE, SHARED_BACKEND, Scene, services, slices};

/// Clock ticks in a second, as /proc counts: the same on every Linux that runs containers.
const TICKS: f64 = 100.0;
/// Connections of the load.
const CONNECTIONS: u32 = 16;
/// Requests a second of the load at a rate: few enough for two cores.
const RATE: u32 = 400;

/// How one path did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Path {
    /// As fast as it goes.
    pub full: Outcome,
    /// Cores that the path's Envoys used meanwhile.
    pub envoy_cores: f64,
    /// Requests a second for each core of Envoy.
    pub per_core: f64,
    /// At a modest rate.
    pub paced: Outcome,
}

/// Both paths.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hops {
    /// The tenant's Gateway.
    pub one: Path,
    /// A Gateway on the hub, then the tenant's L4 Envoy.
    pub two: Path,
}

/// Measures both.
///
/// # Errors
/// When something does not come about.
pub async fn run(scene: &Scene, duration: Duration, progress: &Progress) -> Result<Hops> {
    let (one_host, two_host) = ("one-hop.example.com", "two-hops.example.com");
    scene
        .tenant
        .create_route(&scene.tenant.route("hops", "one-hop", one_host, SHARED_BACKEND))
        .await?;
    layer4(scene).await?;
    scene
        .raw
        .create_route(&scene.raw.route("hops", "two-hops", two_host, "layer4"))
        .await?;
    progress.say("P11: one hop");
    let one_fleets = [gateway_fleet(scene).await?];
    let one = path(scene, &scene.tenant.address, one_host, &one_fleets, duration).await?;
    progress.say("P11: two hops");
    let two_fleets = [format!("{RAW_NAMESPACE}/bench"), TENANT.to_owned()];
    let two = path(scene, &scene.raw.address, two_host, &two_fleets, duration).await?;
    Ok(Hops { one, two })
}

/// A LoadBalancer Service of the tenant, and a Service on the hub that leads to the Envoys behind it.
async fn layer4(scene: &Scene) -> Result<()> {
    let name = "layer4";
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": scene.tenant.namespace},
        "spec": {
            "type": "LoadBalancer", "selector": {"app": "echo"},
            "ports": [{"name": "http", "port": 80, "targetPort": 3000}],
        },
    });
    create(
        &scene.tenant.client,
        scene.tenant.namespace,
        &services(),
        &service,
    )
    .await?;
    let hub_name = until("the LoadBalancer on the hub", || async {
        let all = objects(&scene.raw.client, TENANT, &services())
            .list(&kube::api::ListParams::default())
            .await?;
        let ours = all.into_iter().find(|s| {
            s.metadata.annotations.as_ref().is_some_and(|a| {
                a.get(api::meta::ORIGIN_NAME).is_some_and(|n| n == name)
                    && a.get(api::meta::ORIGIN_NAMESPACE)
                        .is_some_and(|n| n == scene.tenant.namespace)
            }) && s.data["spec"]["type"] == "LoadBalancer"
        });
        Ok(ours.and_then(|s| s.metadata.name))
    })
    .await?;
    let (addresses, port) = until("Envoys behind the LoadBalancer", || async {
        let list = kube::api::ListParams::default().labels(&format!("kubernetes.io/service-name={hub_name}"));
        let found = objects(&scene.raw.client, TENANT, &slices()).list(&list).await?;
        Ok(found.items.first().and_then(|slice| endpoints(&slice.data)))
    })
    .await?;
    scene.hub_backend(name, &addresses, port).await
}

fn endpoints(slice: &serde_json::Value) -> Option<(Vec<String>, u16)> {
    let port = u16::try_from(slice["ports"][0]["port"].as_u64()?).ok()?;
    let ready = slice["endpoints"]
        .as_array()?
        .iter()
        .filter(|e| e["conditions"]["ready"] == true);
    let addresses: Vec<String> = ready
        .filter_map(|e| e["addresses"][0].as_str().map(str::to_owned))
        .collect();
    (!addresses.is_empty()).then_some((addresses, port))
}

/// The hub's name for the tenant's Gateway, as its Envoys carry it.
async fn gateway_fleet(scene: &Scene) -> Result<String> {
    let gateways = objects(
        &scene.raw.client,
        TENANT,
        &crate::clusters::gateway_api("Gateway"),
    );
    let all = gateways.list(&kube::api::ListParams::default()).await?;
    let ours = all.into_iter().find(|gateway| {
        let annotations = gateway.metadata.annotations.clone().unwrap_or_default();
        annotations
            .get(api::meta::ORIGIN_NAMESPACE)
            .is_some_and(|n| n == scene.tenant.namespace)
    });
    let name = ours
        .and_then(|g| g.metadata.name)
        .context("the tenant's Gateway is not on the hub")?;
    Ok(format!("{TENANT}/{name}"))
}

async fn path(
    scene: &Scene,
    address: &str,
    host: &str,
    fleets: &[String],
    duration: Duration,
) -> Result<Path> {
    let mut before = Unexpected::new();
    if until_served(&client()?, address, host, BEAT, &mut before)
        .await
        .is_none()
    {
        bail!("{host} is not served: {before:?}");
    }
    let load = |rate| Load {
        address: address.to_owned(),
        host: host.to_owned(),
        connections: CONNECTIONS,
        rate,
        duration,
    };
    let used = seconds_used(&scene.clusters.lab, fleets)?;
    let begin = std::time::Instant::now();
    let full = load::run(&load(None)).await?;
    let spent = begin.elapsed().as_secs_f64();
    let envoy_cores = (seconds_used(&scene.clusters.lab, fleets)? - used) / spent;
    let paced = load::run(&load(Some(RATE))).await?;
    Ok(Path {
        per_core: full.per_second / envoy_cores.max(0.001),
        full,
        envoy_cores,
        paced,
    })
}

/// CPU seconds of all Envoys on the hub whose `--service-cluster` is one of these.
fn seconds_used(lab: &Lab, fleets: &[String]) -> Result<f64> {
    let script = r#"for d in /proc/[0-9]*; do
      [ "$(cat $d/comm 2>/dev/null)" = envoy ] || continue
      echo "$(tr '\0' '\n' <$d/cmdline | grep -A1 -x -e --service-cluster | tail -n 1) $(cut -d' ' -f14,15 $d/stat)"
    done"#;
    let mut ticks = 0.0;
    let mut found = false;
    for node in lab.nodes("hub")? {
        for line in lab.in_node(&node, script)?.lines() {
            if let [fleet, user, system] = line.split(' ').collect::<Vec<_>>()[..]
                && fleets.iter().any(|wanted| wanted == fleet)
            {
                found = true;
                ticks += user.parse::<f64>()? + system.parse::<f64>()?;
            }
        }
    }
    if !found {
        bail!("no Envoy of {fleets:?} runs on the hub");
    }
    Ok(ticks / TICKS)
}
