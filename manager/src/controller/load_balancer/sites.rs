//! Which address a load balancer has while it goes to the fleet of all tenants, or comes from it. Pure.
//!
//! A Service selects pods of its own namespace only, so there is a hub Service in the tenant's namespace, or one in the
//! manager's, or for a while both: the one that is not wanted any more goes when the status has shown the address of the
//! other one for the time to drain. What is decided is recorded: the status says which address is shown, an annotation of
//! the Service that goes until when.

use api::v1alpha1::{EnvoyProxyTopology, LoadBalancer};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use kube::ResourceExt;

use super::status::addresses;

/// Annotation of a hub Service whose load balancer has another address now: when it goes, RFC 3339.
pub const ADDRESS_UNTIL: &str = "kubelb.k8c.io/address-until";

/// Where a hub Service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// In the tenant's namespace.
    Tenant,
    /// In the manager's.
    Global,
}

/// What is to be of a hub Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It shall not be there.
    No,
    /// It shall be there.
    Yes,
    /// It shall be there until then.
    Until(Timestamp),
}

/// A hub Service, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
struct Address {
    ingress: Vec<LoadBalancerIngress>,
    until: Option<Timestamp>,
}

/// The addresses of one load balancer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sites {
    wanted: Site,
    tenant: Option<Address>,
    global: Option<Address>,
    shown: Vec<LoadBalancerIngress>,
}

impl Site {
    /// Where a topology has its fleets.
    #[must_use]
    pub fn of(topology: EnvoyProxyTopology) -> Self {
        match topology {
            EnvoyProxyTopology::Shared | EnvoyProxyTopology::Dedicated => Self::Tenant,
            EnvoyProxyTopology::Global => Self::Global,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Tenant => Self::Global,
            Self::Global => Self::Tenant,
        }
    }
}

impl Sites {
    /// Reads the record: the hub Services, and the status.
    #[must_use]
    pub fn of(
        topology: EnvoyProxyTopology,
        lb: &LoadBalancer,
        tenant: Option<&Service>,
        global: Option<&Service>,
    ) -> Self {
        let read = |service: &Service| Address {
            ingress: addresses(service, lb.spec.type_),
            // What nobody can read was not written by us, and says nothing.
            until: (service.annotations().get(ADDRESS_UNTIL)).and_then(|text| text.parse().ok()),
        };
        let status = lb.status.as_ref().and_then(|status| status.load_balancer.clone());
        Self {
            wanted: Site::of(topology),
            tenant: tenant.map(read),
            global: global.map(read),
            shown: status.map(|status| status.ingress).unwrap_or_default(),
        }
    }

    fn at(&self, site: Site) -> Option<&Address> {
        match site {
            Site::Tenant => self.tenant.as_ref(),
            Site::Global => self.global.as_ref(),
        }
    }

    fn has_address(&self, site: Site) -> bool {
        self.at(site).is_some_and(|address| !address.ingress.is_empty())
    }

    /// The status shows the address of this one.
    fn is_shown(&self, site: Site) -> bool {
        self.has_address(site) && self.at(site).is_some_and(|address| address.ingress == self.shown)
    }

    /// The one that clients reach.
    #[must_use]
    pub fn serving(&self) -> Site {
        let other = self.wanted.other();
        if self.is_shown(self.wanted) || self.at(other).is_none() {
            self.wanted
        } else {
            other
        }
    }

    /// The one whose address shall be shown instead, if there is such a one.
    #[must_use]
    pub fn target(&self) -> Option<Site> {
        (self.serving() != self.wanted).then_some(self.wanted)
    }

    /// The one whose address the status shows from now on. `arrived` is true when the target's Envoys have the load
    /// balancer.
    #[must_use]
    pub fn show(&self, arrived: bool) -> Site {
        match self.target() {
            Some(target) if arrived && self.has_address(target) => target,
            _ => self.serving(),
        }
    }

    /// Whether the hub Service at a site shall be there.
    #[must_use]
    pub fn keep(&self, site: Site, drain: SignedDuration, now: Timestamp) -> Keep {
        if site == self.wanted {
            return Keep::Yes;
        }
        let Some(address) = self.at(site) else {
            return Keep::No;
        };
        if !self.is_shown(self.wanted) {
            return Keep::Yes;
        }
        let after = || Timestamp::from_second(now.as_second().saturating_add(drain.as_secs())).ok();
        match address.until.or_else(after) {
            Some(until) if until > now => Keep::Until(until),
            _ => Keep::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DRAIN: SignedDuration = SignedDuration::from_secs(30);
    const OLD: &str = "192.0.2.1";
    const NEW: &str = "192.0.2.2";
    const GLOBAL: EnvoyProxyTopology = EnvoyProxyTopology::Global;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ingress(ip: Option<&str>) -> Value {
        json!({"loadBalancer": {"ingress": ip.map(|ip| json!({"ip": ip})).into_iter().collect::<Vec<_>>()}})
    }

    fn service(ip: Option<&str>, until: Option<i64>) -> Service {
        let annotations = until.map(|until| json!({ADDRESS_UNTIL: at(until).to_string()}));
        let service = json!({"metadata": {"annotations": annotations}, "status": ingress(ip)});
        serde_json::from_value(service).unwrap()
    }

    /// One that shows this address.
    fn lb(shown: Option<&str>) -> LoadBalancer {
        let status = shown.map(|ip| ingress(Some(ip)));
        let lb = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "endpoints": [], "ports": []},
            "status": status});
        serde_json::from_value(lb).unwrap()
    }

    #[test]
    fn a_new_load_balancer_has_one_hub_service_where_it_is_wanted() {
        for (topology, site) in [
            (EnvoyProxyTopology::Dedicated, Site::Tenant),
            (GLOBAL, Site::Global),
        ] {
            let new = Sites::of(topology, &lb(None), None, None);
            assert_eq!((new.serving(), new.target(), new.show(true)), (site, None, site));
            assert_eq!(new.keep(site, DRAIN, at(0)), Keep::Yes);
            assert_eq!(new.keep(site.other(), DRAIN, at(0)), Keep::No);
        }
    }

    #[test]
    fn the_old_address_is_shown_until_the_new_one_is_there_and_leads_somewhere() {
        let old = service(Some(OLD), None);
        for (new, arrived, shown) in [
            (None, false, Site::Tenant),
            (Some(service(None, None)), true, Site::Tenant),
            (Some(service(Some(NEW), None)), false, Site::Tenant),
            (Some(service(Some(NEW), None)), true, Site::Global),
        ] {
            let sites = Sites::of(GLOBAL, &lb(Some(OLD)), Some(&old), new.as_ref());
            assert_eq!(
                (sites.serving(), sites.target()),
                (Site::Tenant, Some(Site::Global))
            );
            assert_eq!(sites.show(arrived), shown);
            assert_eq!(sites.keep(Site::Tenant, DRAIN, at(0)), Keep::Yes);
            assert_eq!(sites.keep(Site::Global, DRAIN, at(0)), Keep::Yes);
        }
    }

    #[test]
    fn the_old_one_goes_when_the_status_has_shown_the_new_address_for_the_time_to_drain() {
        let new = service(Some(NEW), None);
        let shown = |until| {
            Sites::of(
                GLOBAL,
                &lb(Some(NEW)),
                Some(&service(Some(OLD), until)),
                Some(&new),
            )
        };
        let begun = shown(None);
        assert_eq!((begun.serving(), begun.target()), (Site::Global, None));
        // Nothing takes it back: the Envoys of the new one said so before.
        assert_eq!(begun.show(false), Site::Global);
        assert_eq!(begun.keep(Site::Tenant, DRAIN, at(100)), Keep::Until(at(130)));
        assert_eq!(
            shown(Some(130)).keep(Site::Tenant, DRAIN, at(129)),
            Keep::Until(at(130))
        );
        assert_eq!(shown(Some(130)).keep(Site::Tenant, DRAIN, at(130)), Keep::No);
    }

    #[test]
    fn a_change_of_mind_shows_the_first_address_again() {
        let (first, second) = (service(Some(OLD), Some(130)), service(Some(NEW), None));
        let back = |shown| {
            let topology = EnvoyProxyTopology::Shared;
            Sites::of(topology, &lb(Some(shown)), Some(&first), Some(&second))
        };
        let sites = back(NEW);
        assert_eq!(
            (sites.serving(), sites.target()),
            (Site::Global, Some(Site::Tenant))
        );
        assert_eq!(
            (sites.show(false), sites.show(true)),
            (Site::Global, Site::Tenant)
        );
        assert_eq!(
            sites.keep(Site::Tenant, DRAIN, at(110)),
            Keep::Yes,
            "it is wanted"
        );
        assert_eq!(back(OLD).keep(Site::Global, DRAIN, at(110)), Keep::Until(at(140)));
    }
}
