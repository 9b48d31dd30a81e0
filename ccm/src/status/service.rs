//! The status of a tenant Service, from the hub's LoadBalancer. Pure.
//!
//! The hub's status counts only for the generation it was made for. An address is cleared when what served it
//! is gone, so that nobody trusts an address that leads nowhere; but never an address that another
//! implementation wrote.

use api::condition::find;
use api::meta;
use api::v1alpha1::{IpFamily, LoadBalancer, load_balancer_condition as condition};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use serde_json::{Value, json};

use crate::convert::provider;
use crate::convert::service::{ClassPolicy, is_claimed};
use crate::notice::Notice;

/// What is known of the hub's LoadBalancer for a Service.
#[derive(Debug, Clone, Copy)]
pub enum HubView<'a> {
    /// It is there.
    Found(&'a LoadBalancer),
    /// It is not there, and the hub refused to make it or nothing of the Service can be served.
    Absent,
    /// It is not there yet.
    Pending,
}

/// The part of the Service's status that shall be different, as a merge patch; none if it is right.
#[must_use]
pub fn project(service: &Service, policy: ClassPolicy, hub: HubView<'_>) -> Option<Value> {
    let current = provider::shown(service);
    let wanted = if is_claimed(service, policy) {
        wanted(current, hub)
    } else {
        given_up(current, hub)
    };
    wanted
        .filter(|wanted| !is_same(wanted, current))
        .map(|wanted| patch(&wanted))
}

fn wanted(current: &[LoadBalancerIngress], hub: HubView<'_>) -> Option<Vec<LoadBalancerIngress>> {
    match hub {
        HubView::Found(load_balancer) => {
            // The first address is shown when it leads somewhere; one that is there follows the hub's at once.
            let leads_somewhere = !current.is_empty() || is_served(load_balancer);
            hub_ingress(load_balancer).filter(|_| leads_somewhere)
        }
        HubView::Absent => (!current.is_empty()).then(Vec::new),
        HubView::Pending => None,
    }
}

/// A Service that is not ours any more keeps its status, unless it is the one that we wrote.
fn given_up(current: &[LoadBalancerIngress], hub: HubView<'_>) -> Option<Vec<LoadBalancerIngress>> {
    let HubView::Found(load_balancer) = hub else {
        return None;
    };
    let ours = shown(load_balancer);
    let is_ours = |entry: &LoadBalancerIngress| ours.iter().any(|own| is_same_place(own, entry));
    (!current.is_empty() && current.iter().all(is_ours)).then(Vec::new)
}

/// Of an address, whatever stands beside it: the hub may have given or taken a name meanwhile.
fn is_same_place(a: &LoadBalancerIngress, b: &LoadBalancerIngress) -> bool {
    match (address(a), address(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.hostname == b.hostname,
        _ => false,
    }
}

fn address(entry: &LoadBalancerIngress) -> Option<&str> {
    entry.ip.as_deref().filter(|ip| !ip.is_empty())
}

/// None while the hub's status is about an older spec: what is there stays.
fn hub_ingress(load_balancer: &LoadBalancer) -> Option<Vec<LoadBalancerIngress>> {
    let status = load_balancer.status.as_ref()?;
    let observed = status.observed_generation?;
    if Some(observed) != load_balancer.metadata.generation {
        return None;
    }
    Some(shown(load_balancer))
}

/// The hub's addresses as the hub shows them.
fn given(load_balancer: &LoadBalancer) -> Vec<LoadBalancerIngress> {
    let status = load_balancer.status.as_ref();
    let addresses = status.and_then(|status| status.load_balancer.as_ref());
    addresses
        .map(|addresses| addresses.ingress.clone())
        .unwrap_or_default()
}

/// The hub's addresses as the Service shows them.
fn shown(load_balancer: &LoadBalancer) -> Vec<LoadBalancerIngress> {
    let mut ingress = given(load_balancer);
    if load_balancer.spec.proxy_protocol.is_some() {
        ingress.iter_mut().for_each(through_proxy);
    }
    let mut ingress = by_family(ingress, &load_balancer.spec.ip_families);
    let status = load_balancer.status.as_ref();
    let hostname = status.and_then(|status| status.hostname.as_ref());
    if let Some(hostname) = hostname.filter(|hostname| !hostname.hostname.is_empty()) {
        name(&mut ingress, &hostname.hostname);
    }
    ingress
}

/// Those of the Service's families, in its order, and names. Where the hub has none of these families, all that it has:
/// Envoy stands between the families.
fn by_family(ingress: Vec<LoadBalancerIngress>, families: &[IpFamily]) -> Vec<LoadBalancerIngress> {
    let family = |ingress: &LoadBalancerIngress| Some(IpFamily::of(ingress.ip.as_ref()?.parse().ok()?));
    let place = |ingress: &LoadBalancerIngress| match family(ingress) {
        Some(family) => families.iter().position(|wanted| *wanted == family),
        None => Some(families.len()),
    };
    if !ingress
        .iter()
        .filter_map(family)
        .any(|family| families.contains(&family))
    {
        return ingress;
    }
    let mut shown: Vec<_> = ingress
        .into_iter()
        .filter(|ingress| place(ingress).is_some())
        .collect();
    shown.sort_by_key(place);
    shown
}

/// Puts the host name beside each address. Kubernetes allows both in one entry, and what wants an address, such as
/// kube-proxy and `kubectl get`, looks for it first. Where the hub has names in place of addresses, ours comes after
/// them.
fn name(ingress: &mut Vec<LoadBalancerIngress>, hostname: &str) {
    let mut is_shown = ingress.is_empty();
    for entry in ingress.iter_mut().filter(|entry| address(entry).is_some()) {
        entry.hostname = Some(hostname.to_owned());
        is_shown = true;
    }
    if !is_shown {
        ingress.push(LoadBalancerIngress {
            hostname: Some(hostname.to_owned()),
            ..LoadBalancerIngress::default()
        });
    }
}

/// Keeps kube-proxy of the tenant from answering for the address itself: clients in the cluster would reach pods
/// without the header that these expect.
fn through_proxy(ingress: &mut LoadBalancerIngress) {
    if address(ingress).is_some() {
        ingress.ip_mode = Some("Proxy".to_owned());
    }
}

/// Where Envoy's ports ran out for some of its ports, the others are served.
fn is_served(load_balancer: &LoadBalancer) -> bool {
    let conditions = load_balancer.status.as_ref().map(|s| s.conditions.as_slice());
    find(conditions.unwrap_or_default(), condition::PROGRAMMED).is_some_and(|programmed| {
        (programmed.status == "True" || programmed.reason == condition::REASON_PORTS_EXHAUSTED)
            && programmed.observed_generation == load_balancer.metadata.generation
    })
}

/// Equal but for what the API server fills in: an IP address has the mode `VIP` unless told.
fn is_same(a: &[LoadBalancerIngress], b: &[LoadBalancerIngress]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| with_default(a) == with_default(b))
}

fn with_default(ingress: &LoadBalancerIngress) -> LoadBalancerIngress {
    let mut ingress = ingress.clone();
    if address(&ingress).is_some() {
        ingress.ip_mode.get_or_insert_with(|| "VIP".to_owned());
    }
    ingress.ports = ingress.ports.filter(|ports| !ports.is_empty());
    ingress
}

fn patch(ingress: &[LoadBalancerIngress]) -> Value {
    match ingress {
        [] => json!({"loadBalancer": {"ingress": null}}),
        some => json!({"loadBalancer": {"ingress": some}}),
    }
}

/// The first address of a Service's status, for an Event.
#[must_use]
pub fn first_address(patch: &Value) -> Option<&str> {
    let first = patch.pointer("/loadBalancer/ingress/0")?;
    first
        .get("ip")
        .or_else(|| first.get("hostname"))
        .and_then(Value::as_str)
}

/// Every address and name by which the hub may be reached for it, also those that a status of before shows.
#[must_use]
pub fn everywhere(load_balancer: &LoadBalancer) -> Vec<LoadBalancerIngress> {
    let given = given(load_balancer).into_iter();
    given.chain(shown(load_balancer)).collect()
}

/// Where the hub serves it, in words, once that leads somewhere.
#[must_use]
pub fn addresses(load_balancer: &LoadBalancer) -> Option<String> {
    let ingress = hub_ingress(load_balancer).filter(|_| is_served(load_balancer))?;
    let places = ingress
        .iter()
        .filter_map(|entry| address(entry).or(entry.hostname.as_deref()));
    let places: Vec<&str> = places.collect();
    (!places.is_empty()).then(|| places.join(", "))
}

/// What the hub refuses or cannot do, in its own words.
#[must_use]
pub fn refusals(load_balancer: &LoadBalancer) -> Vec<Notice> {
    let generation = load_balancer.metadata.generation;
    let conditions = load_balancer
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let refused = |type_: &str, counts: &dyn Fn(&str) -> bool| {
        find(conditions, type_)
            .filter(|c| c.status == "False" && c.observed_generation == generation && counts(&c.reason))
            .map(|c| Notice::of_hub(&c.reason, &c.message))
    };
    let accepted = refused(condition::ACCEPTED, &|_| true);
    let programmed = refused(condition::PROGRAMMED, &|reason| {
        [condition::REASON_REJECTED, condition::REASON_PORTS_EXHAUSTED].contains(&reason)
    });
    // What is only on its way is no refusal.
    let is_final = |reason: &str| reason != condition::REASON_PENDING;
    let hostname = refused(condition::HOSTNAME_ASSIGNED, &is_final);
    let https = refused(condition::HTTPS_PROGRAMMED, &is_final);
    let mut all: Vec<Notice> = accepted.or(programmed).into_iter().collect();
    all.extend(hostname.map(|notice| match asks_for_hostname(load_balancer) {
        Some(key) => about(key, notice),
        None => notice,
    }));
    all.extend(https.map(|notice| about(meta::MANAGE_CERTIFICATES, notice)));
    all
}

fn about(key: &str, notice: Notice) -> Notice {
    let Notice { reason, message } = notice;
    Notice::new(reason, format!("metadata.annotations[{key}]: {message}"))
}

/// The annotation of the Service that asks for a host name; none where it gets one without asking.
fn asks_for_hostname(load_balancer: &LoadBalancer) -> Option<&'static str> {
    let requests = load_balancer.metadata.annotations.as_ref();
    if load_balancer.spec.hostname.is_some() {
        Some(meta::HOSTNAME)
    } else if requests.is_some_and(|all| all.contains_key(meta::REQUEST_WILDCARD_DOMAIN)) {
        Some(meta::REQUEST_WILDCARD_DOMAIN)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::ProxyProtocol;

    use super::*;

    fn service(class: Option<&str>, ingress: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": class},
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap()
    }

    fn hub(generation: i64, observed: i64, ingress: Value) -> LoadBalancer {
        serde_json::from_value(json!({
            "apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "LoadBalancer",
            "metadata": {"name": "u", "generation": generation},
            "spec": {"endpoints": [], "ports": []},
            "status": {"observedGeneration": observed, "loadBalancer": {"ingress": ingress}, "conditions": [
                {"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
                    "observedGeneration": observed, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap()
    }

    const OURS: ClassPolicy = ClassPolicy::DefaultOrOurs;

    #[test]
    fn the_hubs_addresses_arrive_with_ip_mode_and_ports() {
        let ingress =
            json!([{"ip": "192.0.2.7", "ipMode": "VIP", "ports": [{"port": 80, "protocol": "TCP"}]}]);
        let patch = project(
            &service(None, json!([])),
            OURS,
            HubView::Found(&hub(2, 2, ingress.clone())),
        )
        .unwrap();
        assert_eq!(patch, json!({"loadBalancer": {"ingress": ingress}}));
        assert_eq!(first_address(&patch), Some("192.0.2.7"));
    }

    #[test]
    fn addresses_are_told_in_words_once_they_lead_somewhere() {
        let mut hub = hub(2, 2, json!([{"ip": "192.0.2.7"}, {"hostname": "lb.example.com"}]));
        assert_eq!(addresses(&hub).as_deref(), Some("192.0.2.7, lb.example.com"));
        hub.status.as_mut().unwrap().conditions[0].status = "False".to_owned();
        assert_eq!(addresses(&hub), None);
    }

    #[test]
    fn the_hub_is_known_by_its_addresses_of_every_family_and_by_its_host_name() {
        let mut hub = named(
            hub(
                2,
                2,
                json!([{"hostname": "lb.example.com"}, {"ip": "2001:db8::7"}]),
            ),
            "web.example.com",
        );
        hub.spec.ip_families = vec![IpFamily::IPv4];
        let all = everywhere(&hub);
        let has = |ip: Option<&str>, hostname: Option<&str>| {
            all.iter()
                .any(|entry| (entry.ip.as_deref(), entry.hostname.as_deref()) == (ip, hostname))
        };
        assert!(
            has(None, Some("lb.example.com")) && has(Some("2001:db8::7"), None),
            "{all:?}"
        );
        assert!(
            all.iter()
                .any(|entry| entry.hostname.as_deref() == Some("web.example.com")),
            "{all:?}"
        );
    }

    #[test]
    fn the_first_address_waits_until_it_leads_somewhere_and_a_later_one_does_not() {
        let mut hub = hub(2, 2, json!([{"ip": "192.0.2.8"}]));
        hub.status.as_mut().unwrap().conditions[0].status = "False".to_owned();
        let none = service(None, json!([]));
        assert_eq!(project(&none, OURS, HubView::Found(&hub)), None);
        let moved = service(None, json!([{"ip": "192.0.2.7"}]));
        let patch = project(&moved, OURS, HubView::Found(&hub)).unwrap();
        assert_eq!(first_address(&patch), Some("192.0.2.8"));
    }

    #[test]
    fn with_proxy_protocol_clients_in_the_cluster_go_through_the_hub_too() {
        let mut hub = hub(2, 2, json!([{"ip": "192.0.2.7", "ipMode": "VIP"}]));
        hub.spec.proxy_protocol = Some(ProxyProtocol::V2);
        let patch = project(&service(None, json!([])), OURS, HubView::Found(&hub)).unwrap();
        let shown = json!([{"ip": "192.0.2.7", "ipMode": "Proxy"}]);
        assert_eq!(patch, json!({"loadBalancer": {"ingress": shown}}));
        let given_up = service(None, shown);
        assert!(project(&given_up, ClassPolicy::OursOnly, HubView::Found(&hub)).is_some());
    }

    /// With a host name, as the hub tells it.
    fn named(mut hub: LoadBalancer, hostname: &str) -> LoadBalancer {
        let status = hub.status.as_mut().unwrap();
        status.hostname = serde_json::from_value(json!({"hostname": hostname})).unwrap();
        hub
    }

    #[test]
    fn the_host_name_is_shown_beside_each_address_and_goes_when_the_hub_takes_it_back() {
        let plain = hub(2, 2, json!([{"ip": "192.0.2.7"}, {"ip": "2001:db8::7"}]));
        let named = named(plain.clone(), "web.lb.example.com");
        let patch = project(&service(None, json!([])), OURS, HubView::Found(&named)).unwrap();
        let shown = json!([{"ip": "192.0.2.7", "hostname": "web.lb.example.com"},
            {"ip": "2001:db8::7", "hostname": "web.lb.example.com"}]);
        assert_eq!(patch, json!({"loadBalancer": {"ingress": shown}}));
        let shown = service(None, shown);
        assert_eq!(project(&shown, OURS, HubView::Found(&named)), None);
        let patch = project(&shown, OURS, HubView::Found(&plain)).unwrap();
        assert_eq!(
            patch,
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"ip": "2001:db8::7"}]}})
        );
    }

    #[test]
    fn our_name_is_cleared_with_the_address_when_the_service_is_not_ours_any_more() {
        let hub = named(hub(2, 2, json!([{"ip": "192.0.2.7"}])), "web.lb.example.com");
        let given_up = service(
            None,
            json!([{"ip": "192.0.2.7", "ipMode": "VIP", "hostname": "web.lb.example.com"}]),
        );
        let cleared = Some(json!({"loadBalancer": {"ingress": null}}));
        let project = |service| project(&service, ClassPolicy::OursOnly, HubView::Found(&hub));
        assert_eq!(project(given_up), cleared);
        // The name came after the address was shown, and has not got here yet.
        assert_eq!(project(service(None, json!([{"ip": "192.0.2.7"}]))), cleared);
        let foreign = json!([{"ip": "198.51.100.1", "hostname": "web.lb.example.com"}]);
        assert_eq!(project(service(None, foreign)), None);
    }

    #[test]
    fn where_the_hub_has_a_name_for_an_address_ours_comes_after_it_and_never_alone() {
        let by_name = hub(2, 2, json!([{"hostname": "lb-1.cloud.example"}]));
        let by_name = named(by_name, "web.lb.example.com");
        let patch = project(&service(None, json!([])), OURS, HubView::Found(&by_name)).unwrap();
        assert_eq!(
            patch,
            json!({"loadBalancer": {"ingress": [{"hostname": "lb-1.cloud.example"},
                {"hostname": "web.lb.example.com"}]}})
        );
        let nothing = named(hub(2, 2, json!([])), "web.lb.example.com");
        assert_eq!(
            project(&service(None, json!([])), OURS, HubView::Found(&nothing)),
            None
        );
    }

    fn refusing(type_: &str, reason: &str, spec: Value, annotations: Value) -> LoadBalancer {
        let mut hub = hub(2, 2, json!([]));
        hub.metadata.annotations = serde_json::from_value(annotations).unwrap();
        hub.spec.hostname = spec["hostname"].as_str().map(str::to_owned);
        let refusal = json!([{"type": type_, "status": "False", "reason": reason, "message": "why",
            "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        hub.status.as_mut().unwrap().conditions = serde_json::from_value(refusal).unwrap();
        hub
    }

    #[test]
    fn a_refused_host_name_is_told_with_the_annotation_that_asked_for_it() {
        let explicit = refusing(
            "HostnameAssigned",
            "DomainNotAllowed",
            json!({"hostname": "bank.example.com"}),
            json!({}),
        );
        let told = |reason, message: &str| [Notice::new(reason, message)];
        assert_eq!(
            refusals(&explicit),
            told(
                "DomainNotAllowed",
                "metadata.annotations[kubelb.k8c.io/hostname]: why"
            )
        );
        let wildcard = refusing(
            "HostnameAssigned",
            "NoWildcardDomain",
            json!({}),
            json!({"kubelb.k8c.io/request-wildcard-domain": "true"}),
        );
        assert_eq!(
            refusals(&wildcard),
            told(
                "NoWildcardDomain",
                "metadata.annotations[kubelb.k8c.io/request-wildcard-domain]: why"
            )
        );
        let taken = refusing("HostnameAssigned", "HostnameConflict", json!({}), json!({}));
        assert_eq!(refusals(&taken), told("HostnameConflict", "why"));
    }

    #[test]
    fn https_that_is_refused_is_told_and_https_that_is_on_its_way_is_not() {
        let refused = refusing("HTTPSProgrammed", "NoIssuer", json!({}), json!({}));
        assert_eq!(
            refusals(&refused),
            [Notice::new(
                "NoIssuer",
                "metadata.annotations[kubelb.k8c.io/manage-certificates]: why"
            )]
        );
        let pending = refusing("HTTPSProgrammed", "Pending", json!({}), json!({}));
        assert!(refusals(&pending).is_empty());
    }

    #[test]
    fn addresses_of_the_services_families_are_shown_in_its_order() {
        let shown = |families: &[IpFamily], ingress: Value| {
            let mut hub = hub(2, 2, ingress);
            hub.spec.ip_families = families.to_vec();
            project(&service(None, json!([])), OURS, HubView::Found(&hub)).unwrap()["loadBalancer"]["ingress"]
                .clone()
        };
        let (four, six) = (IpFamily::IPv4, IpFamily::IPv6);
        let (a, b) = (json!({"ip": "192.0.2.7"}), json!({"ip": "2001:db8::7"}));
        let both = json!([a, b]);
        assert_eq!(shown(&[four, six], both.clone()), both);
        assert_eq!(shown(&[six, four], both.clone()), json!([b, a]));
        assert_eq!(shown(&[six], both.clone()), json!([b]));
        assert_eq!(shown(&[four], both.clone()), json!([a]));
        assert_eq!(shown(&[], both.clone()), both);
        assert_eq!(shown(&[six], json!([a])), json!([a]), "the hub has no other");
        let name = json!({"hostname": "lb.example.com"});
        assert_eq!(shown(&[six], json!([name])), json!([name]));
    }

    #[test]
    fn the_host_name_is_shown_beside_the_addresses_of_the_services_families_alone() {
        let both = json!([{"ip": "192.0.2.7"}, {"ip": "2001:db8::7"}]);
        let mut hub = named(hub(2, 2, both), "web.lb.example.com");
        hub.spec.ip_families = vec![IpFamily::IPv6];
        let patch = project(&service(None, json!([])), OURS, HubView::Found(&hub)).unwrap();
        let shown = json!([{"ip": "2001:db8::7", "hostname": "web.lb.example.com"}]);
        assert_eq!(patch, json!({"loadBalancer": {"ingress": shown}}));
    }

    #[test]
    fn a_status_that_is_right_needs_no_write() {
        let ingress = json!([{"ip": "192.0.2.7"}]);
        let hub = hub(2, 2, ingress.clone());
        assert_eq!(project(&service(None, ingress), OURS, HubView::Found(&hub)), None);
    }

    #[test]
    fn the_ip_mode_that_the_api_server_fills_in_is_no_difference() {
        let stored = json!([{"ip": "192.0.2.7", "ipMode": "VIP"}]);
        let hub = hub(2, 2, json!([{"ip": "192.0.2.7"}]));
        assert_eq!(
            project(&service(None, stored.clone()), OURS, HubView::Found(&hub)),
            None
        );
        assert!(
            project(
                &service(None, stored),
                ClassPolicy::OursOnly,
                HubView::Found(&hub)
            )
            .is_some()
        );
    }

    #[test]
    fn a_status_of_an_older_generation_does_not_count() {
        let hub = hub(3, 2, json!([{"ip": "192.0.2.8"}]));
        assert_eq!(
            project(
                &service(None, json!([{"ip": "192.0.2.7"}])),
                OURS,
                HubView::Found(&hub)
            ),
            None
        );
    }

    #[test]
    fn a_status_with_fields_of_a_newer_manager_is_read_all_the_same() {
        let hub = hub(2, 2, json!([{"ip": "192.0.2.7"}]));
        let mut newer = serde_json::to_value(&hub).unwrap();
        newer["status"]["ofTomorrow"] = json!({"some": "thing"});
        newer["status"]["loadBalancer"]["ingress"][0]["ofTomorrow"] = json!(1);
        let hub: LoadBalancer = serde_json::from_value(newer).unwrap();
        let patch = project(&service(None, json!([])), OURS, HubView::Found(&hub)).unwrap();
        assert_eq!(first_address(&patch), Some("192.0.2.7"));
    }

    #[test]
    fn an_address_that_the_hub_took_away_is_cleared() {
        let hub = hub(2, 2, json!([]));
        let patch = project(
            &service(None, json!([{"ip": "192.0.2.7"}])),
            OURS,
            HubView::Found(&hub),
        );
        assert_eq!(patch, Some(json!({"loadBalancer": {"ingress": null}})));
    }

    #[test]
    fn an_address_is_cleared_when_the_hub_refuses_but_not_while_it_is_being_made() {
        let service = service(Some("kubelb"), json!([{"ip": "192.0.2.7"}]));
        assert!(project(&service, OURS, HubView::Absent).is_some());
        assert_eq!(project(&service, OURS, HubView::Pending), None);
    }

    #[test]
    fn the_status_of_a_foreign_class_is_never_touched() {
        let foreign = service(Some("other"), json!([{"ip": "198.51.100.1"}]));
        assert_eq!(project(&foreign, OURS, HubView::Absent), None);
        assert_eq!(
            project(
                &foreign,
                OURS,
                HubView::Found(&hub(2, 2, json!([{"ip": "192.0.2.7"}])))
            ),
            None
        );
    }

    #[test]
    fn our_address_is_cleared_when_the_service_is_not_ours_any_more() {
        let ingress = json!([{"ip": "192.0.2.7"}]);
        let given_up = service(None, ingress.clone());
        let patch = project(
            &given_up,
            ClassPolicy::OursOnly,
            HubView::Found(&hub(2, 2, ingress)),
        );
        assert_eq!(patch, Some(json!({"loadBalancer": {"ingress": null}})));
    }

    #[test]
    fn a_refusal_is_told_in_the_hubs_words_and_only_for_this_generation() {
        let mut hub = hub(2, 2, json!([]));
        let refusal = json!([{"type": "Accepted", "status": "False", "reason": "LimitExceeded",
            "message": "10 of 10 are in use", "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        hub.status.as_mut().unwrap().conditions = serde_json::from_value(refusal).unwrap();
        assert_eq!(
            refusals(&hub),
            [Notice::new("LimitExceeded", "10 of 10 are in use")]
        );
        hub.metadata.generation = Some(3);
        assert!(refusals(&hub).is_empty());
    }
}
