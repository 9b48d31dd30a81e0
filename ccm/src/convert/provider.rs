//! Who gives Services their address in the own cluster, and where they answer if that is another. Pure.

use std::collections::BTreeSet;

use api::v1alpha1::EndpointAddress;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};

use super::nodes::MAX_ADDRESSES;

/// Who gives Services of type `LoadBalancer` their address in the own cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CloudProvider {
    /// This agent: the hub reaches a Service at its NodePorts, and its status shows the hub's address.
    #[default]
    Ours,
    /// Another one: the hub reaches a Service at the address that its status shows and at its own ports. The status
    /// is read and never written.
    Another,
}

/// The addresses in a Service's status, sorted, as many as one object holds. Those of the hub are left out: a status
/// may still show them from a time when this agent wrote it, and requests would go round in a circle.
#[must_use]
pub fn addresses(service: &Service, of_hub: &[LoadBalancerIngress]) -> Vec<EndpointAddress> {
    let of_hub: BTreeSet<EndpointAddress> = of_hub.iter().flat_map(places).collect();
    let places = shown(service).iter().filter_map(|entry| places(entry).next());
    let own: BTreeSet<EndpointAddress> = places.filter(|place| !of_hub.contains(place)).collect();
    own.into_iter().take(MAX_ADDRESSES).collect()
}

/// What a Service's status shows.
#[must_use]
pub fn shown(service: &Service) -> &[LoadBalancerIngress] {
    let status = service.status.as_ref();
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref());
    ingress.unwrap_or_default()
}

/// The IP address, and the host name.
fn places(ingress: &LoadBalancerIngress) -> impl Iterator<Item = EndpointAddress> {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let ip = said(&ingress.ip).map(|ip| EndpointAddress {
        ip: Some(ip),
        hostname: None,
    });
    let hostname = said(&ingress.hostname).map(|hostname| EndpointAddress {
        ip: None,
        hostname: Some(hostname),
    });
    ip.into_iter().chain(hostname)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ingress(entries: Value) -> Vec<LoadBalancerIngress> {
        serde_json::from_value(entries).unwrap()
    }

    fn found(entries: Value, of_hub: Value) -> Value {
        let service = json!({"metadata": {}, "status": {"loadBalancer": {"ingress": entries}}});
        let service: Service = serde_json::from_value(service).unwrap();
        serde_json::to_value(addresses(&service, &ingress(of_hub))).unwrap()
    }

    #[test]
    fn addresses_and_names_of_another_load_balancer_are_taken_in_one_order() {
        let shown = json!([{"hostname": "lb.example.com"}, {"ip": "192.0.2.9", "hostname": "a.example.com"},
            {"ip": "192.0.2.8", "ipMode": "VIP"}, {"ip": "192.0.2.9"}, {"ip": ""}, {}]);
        let taken = json!([{"hostname": "lb.example.com"}, {"ip": "192.0.2.8"}, {"ip": "192.0.2.9"}]);
        assert_eq!(found(shown, json!([])), taken);
    }

    #[test]
    fn an_address_of_the_hub_is_never_an_endpoint() {
        let shown = json!([{"ip": "203.0.113.7"}, {"hostname": "web.lb.example.com"}, {"ip": "192.0.2.8"}]);
        assert_eq!(
            found(
                shown,
                json!([{"ip": "203.0.113.7", "hostname": "web.lb.example.com"}])
            ),
            json!([{"ip": "192.0.2.8"}])
        );
        assert_eq!(found(json!([]), json!([])), json!([]));
    }
}
