//! A route's backend and one of its filters change twenty times under constant traffic: every answer must be 200.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testbed::Progress;

use crate::clusters::{apply, gateway_api};
use crate::load::{self, Load, Outcome};
use crate::probe::{BEAT, Unexpected, client, until_served};
use crate::scene::{SHARED_BACKEND, Scene, Side, own_backend};

/// Time from one change to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Requests a second meanwhile.
const RATE: u32 = 200;
/// Connections of the traffic.
const CONNECTIONS: u32 = 8;

/// Both ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Switch {
    /// Changes.
    pub changes: u32,
    /// By delegation.
    pub delegated: Outcome,
    /// Directly on the hub.
    pub raw: Outcome,
}

/// Runs one way after the other.
///
/// # Errors
/// When an API server refuses something.
pub async fn run(scene: &Scene, changes: u32, progress: &Progress) -> Result<Switch> {
    scene.own_backends(1).await?;
    progress.say("backend switch under traffic, delegated");
    let delegated = one_way(&scene.tenant, changes).await?;
    progress.say("backend switch under traffic, raw");
    let raw = one_way(&scene.raw, changes).await?;
    Ok(Switch {
        changes,
        delegated,
        raw,
    })
}

async fn one_way(side: &Side, changes: u32) -> Result<Outcome> {
    let host = "switch.example.com";
    let kind = gateway_api("HTTPRoute");
    apply(&side.client, side.namespace, &kind, &route(side, host, 0)).await?;
    let mut before = Unexpected::new();
    if until_served(&client()?, &side.address, host, BEAT, &mut before)
        .await
        .is_none()
    {
        bail!("{host} is not served: {before:?}");
    }
    let load = Load {
        address: side.address.clone(),
        host: host.to_owned(),
        connections: CONNECTIONS,
        rate: Some(RATE),
        duration: PAUSE * (changes + 2),
    };
    let traffic = tokio::spawn(async move { load::run(&load).await });
    for change in 1..=changes {
        tokio::time::sleep(PAUSE).await;
        apply(&side.client, side.namespace, &kind, &route(side, host, change)).await?;
    }
    traffic.await?
}

/// The route after some changes: every one sets another backend and another header.
fn route(side: &Side, host: &str, change: u32) -> Value {
    let backend = if change.is_multiple_of(2) {
        SHARED_BACKEND.to_owned()
    } else {
        own_backend(0)
    };
    let mut route = side.route("switch", "switch", host, &backend);
    route["spec"]["rules"][0]["filters"] = json!([{
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-change", "value": change.to_string()}]},
    }]);
    route
}
