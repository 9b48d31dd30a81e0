//! A real Envoy without a pod: started from the bootstrap and the certificate that the manager made for a tenant's fleet.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use testbed::cache::Cache;
use testbed::tools;

use super::cluster::free_port;
use super::hub::Hub;
use super::process::Running;
use super::wait::{Beat, until};
use super::xds::SERVER_NAME;
use super::{Setting, admin};
use crate::clusters::{kind, objects as objects_of};

/// Admin port of the bootstrap.
const ADMIN: u64 = 19_000;
/// Readiness port of the bootstrap.
const READINESS: u64 = 19_001;

/// Counters of an Envoy that are about its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Updates that it did not take.
    pub rejected: u64,
    /// Updates that it took.
    pub updates: u64,
}

impl Stats {
    fn of(page: &str) -> Self {
        let sum = |suffix: &str| {
            let lines = page.lines().filter_map(|line| line.split_once(": "));
            let wanted = lines.filter(|(name, _)| name.ends_with(suffix));
            wanted
                .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
                .sum()
        };
        Self {
            rejected: sum(".update_rejected"),
            updates: sum(".update_success"),
        }
    }

    /// What was counted meanwhile.
    #[must_use]
    pub fn between(before: &Self, after: &Self) -> Self {
        Self {
            rejected: after.rejected - before.rejected,
            updates: after.updates - before.updates,
        }
    }
}

/// A real Envoy, started from the bootstrap that the manager made, with paths and addresses of this machine.
pub struct Envoy {
    /// Its process.
    pub process: Running,
    admin: u16,
}

impl Envoy {
    /// Starts it in the place of a tenant's first Envoy.
    ///
    /// # Errors
    /// When the manager made no bootstrap or certificate, or it cannot be started.
    pub async fn start(setting: &Setting, hub: &Hub, tenant: &str) -> Result<Self> {
        let binary = tools::envoy(&Cache::from_env()?, &setting.progress)?;
        let dir = setting.dir.join("p8").join("envoy");
        let admin = free_port()?;
        let place = Place {
            dir: dir.clone(),
            xds: hub.xds_port(),
            admin,
            readiness: free_port()?,
        };
        write_identity(hub, tenant, &place.certificates()).await?;
        for (name, text) in bootstrap(hub, tenant).await? {
            let path = dir.join(&name);
            std::fs::write(&path, place.rewrite(&text)?)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        let config = dir.join("envoy.json");
        let args = [
            "-c",
            config.to_str().context("a path that is no text")?,
            "--service-node",
            "envoy-0",
            "--service-cluster",
            tenant,
            "--concurrency",
            "1",
            "--drain-time-s",
            "30",
            "--log-level",
            "warn",
            "--disable-hot-restart",
        ];
        let process = Running::start(&binary, "envoy", &setting.dir.join("p8"), args, &[])?;
        Ok(Self { process, admin })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        let Self { process, admin } = self;
        until("Envoy is ready", Beat::Slow, async || {
            process.check()?;
            Ok(admin::page(*admin, "/ready").await.map(drop))
        })
        .await
    }

    /// Its counters.
    ///
    /// # Errors
    /// When it does not tell them.
    pub async fn stats(&self) -> Result<Stats> {
        let page = admin::page(self.admin, "/stats?filter=update_").await;
        Ok(Stats::of(&page.context("Envoy does not tell its counters")?))
    }

    /// Waits until it has so many listeners of load balancers in use.
    ///
    /// # Errors
    /// When it ends, or has another number for too long.
    pub async fn listeners(&mut self, wanted: usize) -> Result<()> {
        let Self { process, admin } = self;
        until(&format!("Envoy has {wanted} listeners"), Beat::Slow, async || {
            process.check()?;
            let page = admin::page(*admin, "/stats?filter=listener_manager.total_listeners_active").await;
            let listeners = page.and_then(|page| page.trim().rsplit(' ').next()?.parse::<usize>().ok());
            // One is for readiness.
            Ok(listeners.filter(|listeners| *listeners == wanted + 1).map(drop))
        })
        .await
    }
}

/// Where an Envoy lives that has no pod.
struct Place {
    dir: PathBuf,
    xds: u16,
    admin: u16,
    readiness: u16,
}

impl Place {
    fn certificates(&self) -> PathBuf {
        self.dir.join("tls")
    }

    /// A bootstrap file with this place's paths, addresses and ports.
    fn rewrite(&self, text: &str) -> Result<String> {
        let mut value: Value = serde_json::from_str(text)?;
        self.rewrite_value(&mut value);
        Ok(format!("{value:#}"))
    }

    fn rewrite_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(rest) = text.strip_prefix("/etc/envoy-tls") {
                    *text = format!("{}{rest}", self.certificates().display());
                } else if let Some(rest) = text.strip_prefix("/etc/envoy") {
                    *text = format!("{}{rest}", self.dir.display());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rewrite_value(item)),
            Value::Object(fields) => {
                self.rewrite_address(fields);
                fields.values_mut().for_each(|field| self.rewrite_value(field));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn rewrite_address(&self, fields: &mut Map<String, Value>) {
        let port = fields.get("port_value").and_then(Value::as_u64);
        let is_xds = fields
            .get("address")
            .is_some_and(|address| address == SERVER_NAME);
        let moved = match port {
            Some(_) if is_xds => self.xds,
            Some(ADMIN) => self.admin,
            Some(READINESS) => self.readiness,
            _ => return,
        };
        fields.insert("port_value".to_owned(), moved.into());
        if is_xds {
            fields.insert("address".to_owned(), "127.0.0.1".into());
        }
    }
}

async fn bootstrap(hub: &Hub, tenant: &str) -> Result<Vec<(String, String)>> {
    let maps = objects_of(
        &hub.cluster.client,
        tenant,
        &kind("", "v1", "ConfigMap", "configmaps"),
    );
    let map = until("the bootstrap of the Envoys", Beat::Slow, async || {
        Ok(maps.get_opt("envoy").await?)
    })
    .await?;
    let files = map.data["data"]
        .as_object()
        .context("a bootstrap without files")?;
    Ok(files
        .iter()
        .map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().to_owned()))
        .collect())
}

async fn write_identity(hub: &Hub, tenant: &str, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let identity = hub.identity(tenant).await?;
    for (name, bytes) in [
        ("tls.crt", identity.certificate),
        ("tls.key", identity.key),
        ("ca.crt", identity.authority),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_is_moved_to_this_machine() {
        let place = Place {
            dir: PathBuf::from("/tmp/x"),
            xds: 1,
            admin: 2,
            readiness: 3,
        };
        let text = format!(
            r#"{{"a": {{"address": "{SERVER_NAME}", "port_value": 18000}}, "sni": "{SERVER_NAME}",
            "b": [{{"address": "127.0.0.1", "port_value": {ADMIN}}}, {{"address": "::", "port_value": {READINESS}}}],
            "c": "/etc/envoy/a.json", "d": "/etc/envoy-tls/tls.crt"}}"#
        );
        let moved: Value = serde_json::from_str(&place.rewrite(&text).unwrap()).unwrap();
        assert_eq!(
            moved["a"],
            serde_json::json!({"address": "127.0.0.1", "port_value": 1})
        );
        assert_eq!(moved["sni"], SERVER_NAME);
        assert_eq!(
            (&moved["b"][0]["port_value"], &moved["b"][1]["port_value"]),
            (&2.into(), &3.into())
        );
        assert_eq!(
            (&moved["c"], &moved["d"]),
            (&"/tmp/x/a.json".into(), &"/tmp/x/tls/tls.crt".into())
        );
    }

    #[test]
    fn counters_of_all_kinds_of_configuration_are_summed() {
        let page = "cluster_manager.cds.update_rejected: 1\nlistener_manager.lds.update_rejected: 2\n\
                    cluster.a.update_success: 5\ncluster.a.update_attempt: 9\n";
        let after = Stats::of(page);
        assert_eq!(
            after,
            Stats {
                rejected: 3,
                updates: 5
            }
        );
        assert_eq!(Stats::between(&after, &after), Stats::default());
    }
}
