//! A developer makes a GRPCRoute.

use e2e::wait::{seconds, until};
use e2e::{echo, grpc};

use crate::gateway::http::accepted;
use crate::support::{Scratch, gateway_address, lab};

#[test]
fn a_grpc_route_answers_a_call() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("grpc", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(
            &(echo::grpc_deployment(ns, "calls", 1)
                + &echo::service(ns, "calls", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &route(ns)),
        )
        .unwrap();
    let address = gateway_address(tenant, ns, "edge");
    let pod = until("an answer to a gRPC call", seconds(60), || {
        grpc::echo(&format!("{address}:80"), "calls.example.com")
    })
    .unwrap();
    assert!(pod.starts_with("calls-"), "{pod}");
    accepted(tenant, ns, "grpcroute", "calls");
}

fn route(ns: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{namespace: {ns}, name: calls}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [calls.example.com]
  rules:
  - matches: [{{method: {{service: gateway_api_conformance.echo_basic.grpcecho.GrpcEcho, method: Echo}}}}]
    backendRefs: [{{name: calls, port: 80}}]
"
    )
}
