//! Which load balancer holds which host name, over all tenants. Pure.
//!
//! Names below a domain that several tenants share, and explicit names within domains that overlap, can be
//! wanted twice. The oldest load balancer holds a name; the others are served without it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use api::domain;
use api::v1alpha1::LoadBalancer;
use kube::ResourceExt;

use crate::settings::TenantSettings;

/// One tenant with its load balancers.
#[derive(Debug, Clone)]
pub struct Claimant<'a> {
    /// Its namespace on the hub.
    pub namespace: &'a str,
    /// What holds for it.
    pub settings: &'a TenantSettings,
    /// All its load balancers.
    pub load_balancers: &'a [Arc<LoadBalancer>],
}

/// Host name to namespace and name of its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostnameTable(BTreeMap<String, (String, String)>);

/// Gives every host name to the oldest load balancer that wants it.
#[must_use]
pub fn table<'a>(claimants: impl IntoIterator<Item = Claimant<'a>>) -> HostnameTable {
    let mut wishes = Vec::new();
    for Claimant {
        namespace,
        settings,
        load_balancers,
    } in claimants
    {
        for lb in load_balancers
            .iter()
            .filter(|lb| lb.metadata.deletion_timestamp.is_none())
        {
            if let Ok(Some(hostname)) = wanted(lb, settings) {
                let age = lb.metadata.creation_timestamp.as_ref().map(|t| t.0);
                wishes.push((
                    age,
                    lb.uid().unwrap_or_default(),
                    namespace.to_owned(),
                    lb.name_any(),
                    hostname,
                ));
            }
        }
    }
    wishes.sort();
    let mut table = BTreeMap::new();
    for (_, _, namespace, name, hostname) in wishes {
        table.entry(hostname).or_insert((namespace, name));
    }
    HostnameTable(table)
}

impl HostnameTable {
    /// Namespaces whose load balancers hold something else now.
    #[must_use]
    pub fn changed_namespaces(&self, other: &Self) -> BTreeSet<String> {
        let differing = |a: &Self, b: &Self| -> Vec<String> {
            let lost = a.0.iter().filter(|(name, holder)| b.0.get(*name) != Some(holder));
            lost.map(|(_, (namespace, _))| namespace.clone()).collect()
        };
        differing(self, other)
            .into_iter()
            .chain(differing(other, self))
            .collect()
    }
}

/// The host name in force for a load balancer.
///
/// # Errors
/// A sentence that says why a name that was asked for is not used.
pub fn in_force(
    lb: &LoadBalancer,
    settings: &TenantSettings,
    table: &HostnameTable,
) -> Result<Option<String>, String> {
    let Some(hostname) = wanted(lb, settings)? else {
        return Ok(None);
    };
    let (namespace, name) = (lb.namespace().unwrap_or_default(), lb.name_any());
    match table.0.get(&hostname) {
        Some((holder_namespace, holder)) if *holder_namespace == namespace && *holder == name => {
            Ok(Some(hostname))
        }
        _ => Err(format!(
            "host name {hostname:?} is not used: another load balancer holds it"
        )),
    }
}

/// The host name that a load balancer asks for, or that it gets below the hub's domain.
///
/// # Errors
/// A sentence that says why the name that was asked for may not be used.
pub fn wanted(lb: &LoadBalancer, settings: &TenantSettings) -> Result<Option<String>, String> {
    let Some(asked) = lb.spec.hostname.as_deref().filter(|h| !h.is_empty()) else {
        return Ok(generated(lb, settings));
    };
    let asked = asked.trim_end_matches('.').to_ascii_lowercase();
    if settings.dns.allow_explicit_hostnames != Some(true) {
        return Err(format!(
            "host name {asked:?} is not used: the tenant may not choose host names"
        ));
    }
    if asked.parse::<l4_xds::Hostname>().is_err() || !domain::is_allowed(&asked, &settings.allowed_domains) {
        return Err(format!(
            "host name {asked:?} is not used: it is not within the tenant's allowedDomains"
        ));
    }
    Ok(Some(asked))
}

/// `<service>.<wildcardDomain>`, where the hub has such a domain and knows the Service's name.
fn generated(lb: &LoadBalancer, settings: &TenantSettings) -> Option<String> {
    let domain = settings.dns.wildcard_domain.as_deref()?.trim_start_matches("*.");
    let service = lb.annotations().get(api::meta::ORIGIN_NAME)?;
    // More than one label would be a name below another tenant's.
    let name = format!("{service}.{domain}").to_ascii_lowercase();
    (!service.contains('.') && name.parse::<l4_xds::Hostname>().is_ok()).then_some(name)
}

/// The table in force, shared by the controllers.
#[derive(Debug, Default)]
pub struct HostnamesCell(Mutex<Arc<HostnameTable>>);

impl HostnamesCell {
    /// The table in force.
    #[must_use]
    pub fn get(&self) -> Arc<HostnameTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another table in force.
    pub fn replace(&self, table: HostnameTable) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::{DnsSettings, Tenant, TenantSpec};
    use serde_json::json;

    use super::*;
    use crate::settings::merge;

    fn settings(explicit: bool) -> TenantSettings {
        let dns = DnsSettings {
            wildcard_domain: Some("*.lb.example.com".into()),
            allow_explicit_hostnames: Some(explicit),
            ..DnsSettings::default()
        };
        let spec = TenantSpec {
            dns: Some(dns),
            allowed_domains: Some(vec!["**.example.com".into()]),
            ..TenantSpec::default()
        };
        merge(&Tenant::new("a", spec), None, "kubelb")
    }

    fn lb(
        namespace: &str,
        name: &str,
        second: i64,
        service: &str,
        hostname: Option<&str>,
    ) -> Arc<LoadBalancer> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": namespace, "name": name, "uid": name,
                    "annotations": {"kubelb.k8c.io/origin-name": service},
                    "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
                "spec": {"endpoints": [], "ports": [], "hostname": hostname},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_service_is_named_below_the_hubs_domain() {
        let web = lb("tenant-a", "1", 0, "web", None);
        assert_eq!(
            wanted(&web, &settings(false)).unwrap().as_deref(),
            Some("web.lb.example.com")
        );
        assert_eq!(
            wanted(&lb("tenant-a", "1", 0, "a.b", None), &settings(false)),
            Ok(None)
        );
    }

    #[test]
    fn a_name_of_ones_own_needs_the_permission_and_the_domain() {
        let asking = |name| lb("tenant-a", "1", 0, "web", Some(name));
        assert!(wanted(&asking("shop.example.com"), &settings(false)).is_err());
        assert_eq!(
            wanted(&asking("Shop.example.com."), &settings(true))
                .unwrap()
                .unwrap(),
            "shop.example.com"
        );
        assert!(wanted(&asking("shop.example.org"), &settings(true)).is_err());
    }

    #[test]
    fn the_oldest_holds_a_name_and_the_next_gets_it_when_that_one_goes() {
        let settings = settings(false);
        let (old, young) = (
            lb("tenant-b", "2", 1, "web", None),
            lb("tenant-a", "1", 5, "web", None),
        );
        let both = table([
            Claimant {
                namespace: "tenant-a",
                settings: &settings,
                load_balancers: std::slice::from_ref(&young),
            },
            Claimant {
                namespace: "tenant-b",
                settings: &settings,
                load_balancers: std::slice::from_ref(&old),
            },
        ]);
        assert_eq!(
            in_force(&old, &settings, &both),
            Ok(Some("web.lb.example.com".into()))
        );
        assert!(in_force(&young, &settings, &both).is_err());
        let rest = table([Claimant {
            namespace: "tenant-a",
            settings: &settings,
            load_balancers: std::slice::from_ref(&young),
        }]);
        assert_eq!(
            in_force(&young, &settings, &rest),
            Ok(Some("web.lb.example.com".into()))
        );
        let changed = both.changed_namespaces(&rest);
        assert_eq!(
            changed,
            BTreeSet::from(["tenant-a".to_owned(), "tenant-b".to_owned()])
        );
    }
}
