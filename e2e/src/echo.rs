//! Manifests of echo servers: the backends that tests send traffic to.

/// Image of the echo server.
pub const IMAGE: &str = "registry.k8s.io/gateway-api/echo-basic:v1.5.1";

/// A Deployment of HTTP echo servers with label `app: <name>`.
#[must_use]
pub fn deployment(namespace: &str, name: &str, replicas: u32) -> String {
    workload(namespace, name, replicas, "")
}

/// A Deployment of gRPC echo servers with label `app: <name>`.
#[must_use]
pub fn grpc_deployment(namespace: &str, name: &str, replicas: u32) -> String {
    workload(
        namespace,
        name,
        replicas,
        "\n        - {name: GRPC_ECHO_SERVER, value: \"1\"}",
    )
}

fn workload(namespace: &str, name: &str, replicas: u32, environment: &str) -> String {
    format!(
        r"apiVersion: apps/v1
kind: Deployment
metadata: {{namespace: {namespace}, name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: {IMAGE}
        env:
        - {{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        - {{name: NAMESPACE, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}{environment}
        ports: [{{containerPort: 3000}}]
        readinessProbe: {{tcpSocket: {{port: 3000}}, periodSeconds: 1}}
        resources: {{requests: {{cpu: 1m, memory: 8Mi}}}}
---
"
    )
}

/// A Service in front of `app: <name>`: port 80 to the echo server's 3000.
#[must_use]
pub fn service(namespace: &str, name: &str, type_: &str) -> String {
    format!(
        r"apiVersion: v1
kind: Service
metadata: {{namespace: {namespace}, name: {name}}}
spec:
  type: {type_}
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 3000}}]
---
"
    )
}

/// A Gateway of class `kubelb` with one HTTP listener on port 80.
#[must_use]
pub fn gateway(namespace: &str, name: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{namespace: {namespace}, name: {name}}}
spec:
  gatewayClassName: kubelb
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
"
    )
}

/// An HTTPRoute for one host to port 80 of one Service.
#[must_use]
pub fn http_route(namespace: &str, name: &str, parent: &str, host: &str, service: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{namespace: {namespace}, name: {name}}}
spec:
  parentRefs: [{{name: {parent}}}]
  hostnames: [{host}]
  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]
---
"
    )
}
