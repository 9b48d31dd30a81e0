//! P6: many Envoys of many tenants, and one tenant's LoadBalancer changes: whom it wakes.

use std::time::Duration;

use anyhow::Result;

use super::Setting;
use super::figures::{Figure, Unit};
use super::hub::Hub;
use super::objects::tenant_name;
use super::xds::Heard;

/// Tenants.
const TENANTS: usize = 100;
/// Envoys of each.
const ENVOYS: usize = 3;
/// LoadBalancers of each.
const LOAD_BALANCERS: usize = 10;
/// Nodes of each.
const NODES: usize = 3;
/// Changes.
const CHANGES: usize = 20;
/// Time after a change in which all that it causes is there.
const REST: Duration = Duration::from_secs(2);
/// How often the server saw that a stream has news.
const WOKEN: &str = "kubelb_envoy_control_plane_snapshot_updates_total";

/// The measurement.
///
/// # Errors
/// When something does not come about.
pub async fn run(setting: &Setting) -> Result<Vec<Figure>> {
    let mut hub = Hub::start(setting, "p6", ENVOYS).await?;
    let tenants: Vec<String> = (0..setting.scaled(TENANTS, 3)).map(tenant_name).collect();
    let envoys = tenants.len() * ENVOYS;
    setting
        .progress
        .say(format!("P6: {} tenants with {envoys} Envoys", tenants.len()));
    hub.tenants(&tenants, NODES, None).await?;
    let mut clients = Vec::new();
    for tenant in &tenants {
        hub.create(tenant, 0..LOAD_BALANCERS).await?;
        clients.extend(hub.connect(tenant, 0..ENVOYS).await?);
    }
    hub.settled(tenants.len() * LOAD_BALANCERS, &clients, LOAD_BALANCERS)
        .await?;
    tokio::time::sleep(REST).await;
    drop(hub.take_told());

    setting
        .progress
        .say(format!("P6: {CHANGES} changes to one tenant"));
    let (woken, mut heard) = (hub.counter(WOKEN).await, Vec::new());
    for change in 0..CHANGES {
        hub.change(&tenants[0], change % LOAD_BALANCERS, change).await?;
        tokio::time::sleep(REST).await;
        heard.extend(hub.take_told());
    }
    let woken = woken
        .zip(hub.counter(WOKEN).await)
        .map(|(before, after)| after - before);
    drop(clients);
    hub.end().await?;
    Ok(figures(&tenants[0], envoys, &heard, woken))
}

fn figures(tenant: &str, envoys: usize, heard: &[Heard], woken: Option<f64>) -> Vec<Figure> {
    let (own, others): (Vec<&Heard>, Vec<&Heard>) = heard.iter().partition(|h| h.client.0 == tenant);
    let title = |what: &str| format!("{envoys} Envoys, one tenant changes: {what}");
    let mut all = vec![
        Figure::plain(
            title("messages at its own Envoys, each change"),
            own.len() as f64 / CHANGES as f64,
            Unit::Each,
        ),
        Figure::at_most(
            title("messages at other Envoys"),
            others.len() as f64,
            Unit::Count,
            0.0,
        ),
    ];
    let bound = ENVOYS as f64;
    all.extend(woken.map(|woken| {
        let each = woken / CHANGES as f64;
        Figure::at_most(title("streams woken, each change"), each, Unit::Each, bound)
    }));
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::l4::xds::Type;

    #[test]
    fn a_message_at_another_tenants_envoy_misses_the_goal() {
        let heard = |tenant: &str| Heard {
            at: Instant::now(),
            client: Arc::new((tenant.to_owned(), "envoy-0".to_owned())),
            ty: Type::Endpoints,
            changed: vec![],
            removed: 0,
            bytes: 1,
        };
        let reached = |heard: &[Heard], woken| {
            figures("tenant-000", 300, heard, woken)
                .iter()
                .all(|f| f.reached() != Some(false))
        };
        let own = vec![heard("tenant-000")];
        assert!(reached(&own, Some(60.0)) && reached(&own, None));
        assert!(!reached(&own, Some(61.0)), "a stream that was woken for nothing");
        assert!(!reached(&[heard("tenant-000"), heard("tenant-001")], Some(60.0)));
    }
}
