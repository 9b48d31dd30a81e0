#!/usr/bin/env bash
# Lints both charts and renders them with the values that people set. Needs helm; no cluster.
# `check.sh --server` also has an API server check every object; nothing is written. It needs the definitions of the
# Gateway API, of Envoy Gateway and of kubelb.k8c.io, the namespace kubelb, and neither chart installed.
set -euo pipefail
cd "$(dirname "$0")"
command -v helm >/dev/null || { echo "charts/check.sh: helm is not there, nothing was checked" >&2; exit 1; }
[ "${1:-}" = "" ] || [ "$1" = --server ] || { echo "usage: check.sh [--server]" >&2; exit 2; }
server=${1:-}
failed=0

render() { # chart, helm arguments…
  local chart=$1 output
  shift
  if ! output=$(helm template "$chart" "./$chart" --namespace kubelb "$@" 2>&1); then
    echo "FAILED   $chart $*"
    echo "$output"
    failed=1
    return
  fi
  if [ -n "$server" ] && ! output=$(kubectl apply --server-side --force-conflicts --dry-run=server -f - <<<"$output" 2>&1); then
    echo "REFUSED  $chart $*"
    grep -v 'dry run)' <<<"$output"
    failed=1
    return
  fi
  echo "ok       $chart $*"
}

refuse() { # expected text, chart, helm arguments…
  local text=$1 chart=$2 output
  shift 2
  if output=$(helm template "$chart" "./$chart" --namespace kubelb "$@" 2>&1); then
    echo "ACCEPTED $chart $*"
    failed=1
  elif ! grep -qF -- "$text" <<<"$output"; then
    echo "OTHER ERROR $chart $*: $output"
    failed=1
  else
    echo "refused  $chart $*"
  fi
}

known=(--api-versions kubelb.k8c.io/v1alpha1/Config --api-versions gateway.networking.k8s.io/v1)

helm lint --quiet kubelb-manager
helm lint --quiet kubelb-ccm --set clusterName=tenant-a

render kubelb-manager "${known[@]}"
render kubelb-manager "${known[@]}" --set gatewayAPI.enable=false
render kubelb-manager "${known[@]}" --set crds.install=false,config=null,admissionPolicy.enable=false
render kubelb-manager "${known[@]}" --set replicaCount=1,kubelb.enableLeaderElection=false,podDisruptionBudget.enable=false
render kubelb-manager "${known[@]}" --set kubelb.tenantAPIServer=https://hub.example.com:6443,kubelb.tenantTokenLifetime=24h \
  --set-string 'kubelb.tenantAPIServerCA=-----BEGIN CERTIFICATE-----' --set 'kubelb.extraArgs={--debug}'
render kubelb-manager "${known[@]}" --set 'config.endpointCIDRs={192.0.2.0/24},config.envoyProxy.replicas=2' \
  --set gatewayAPI.envoyProxy.image=envoy:1,gatewayAPI.envoyProxy.concurrency=null,gatewayAPI.envoyProxy.loadBalancerClass=example.com/class \
  --set 'admissionPolicy.exemptUsers={admin}' --set priorityClassName=system-cluster-critical
render kubelb-ccm "${known[@]}" --set clusterName=tenant-a,kubelb.manager.address=hub.example.com
render kubelb-ccm "${known[@]}" --set clusterName=tenant-a,gatewayAPI.enable=false,kubelb.nodeAddressType=InternalIP
render kubelb-ccm "${known[@]}" --set clusterName=tenant-a,kubelb.renewCredential=false,kubelb.enableCloudProvider=false
render kubelb-ccm --set clusterName=tenant-a,replicaCount=2,kubelb.clusterSecretName=other

refuse "additional properties 'replicas' not allowed" kubelb-manager --set replicas=3
refuse "two writers would fight" kubelb-manager --set kubelb.enableLeaderElection=false
refuse "needs kubelb.tenantAPIServer" kubelb-manager --set-string 'kubelb.tenantAPIServerCA=-----BEGIN CERTIFICATE-----'
refuse "clusterName is required" kubelb-ccm
refuse "nodeAddressType" kubelb-ccm --set clusterName=tenant-a,kubelb.nodeAddressType=InternalIp
refuse "clusterName" kubelb-ccm --set clusterName=Tenant_A

exit "$failed"
