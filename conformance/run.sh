#!/usr/bin/env bash
# Runs the Gateway API conformance suite in a tenant cluster, and judges the run.
#
#   run.sh                 on fresh clusters of the testbed, which it removes afterwards
#   LAB=<name> run.sh      in tenant-a of a lab that stands and has the product
#   TENANT_KUBECONFIG=<file> HUB_KUBECONFIG=<file> POOL=<CIDRs> run.sh     in clusters that you have
#   run.sh --changed       the whole suite if the product has changed since the committed report, else the core
#
#   PROFILE=HTTP,TLS   these profiles                  RUN=<test>,…   these tests
#   CORE=1             core tests of all profiles      SMOKE=1        two tests
#   KEEP=1             fresh clusters stay             BIN=<folder>   where programs are built
#   TENANT=<name>      name of the Tenant on the hub; tenant-a unless told
#   USABLE_ADDRESS=<address>   a free address of the hub's pool; its last one unless told
#
# Every run writes conformance/out/; a whole one is then copied to conformance/reports/, whatever it says.
# Further arguments are flags of the suite.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${LAB:=}" "${TENANT_KUBECONFIG:=}" "${HUB_KUBECONFIG:=}" "${POOL:=}" "${TENANT:=tenant-a}" "${USABLE_ADDRESS:=}"
: "${PROFILE:=}" "${RUN:=}" "${CORE:=}" "${SMOKE:=}" "${KEEP:=}" "${BIN:=${CARGO_TARGET_DIR:-target}/release}"
mkdir -p "$BIN"
BIN=$(realpath "$BIN")
# What a run speaks for: the suite's outcome can change with these and nothing else.
PRODUCT=(api ccm charts conformance gateway-translator manager ':(exclude)conformance/reports' ':(exclude)*.md')

say() { echo "==> $*"; }
fail() { echo "conformance: $*" >&2; exit 2; }

# Says whether the tree differs from a commit in what a run speaks for.
differs_from() {
  git cat-file -e "$1^{commit}" 2>/dev/null || return 0
  git diff --quiet "$1" -- "${PRODUCT[@]}" || return 0
  [ -n "$(git ls-files --others --exclude-standard -- "${PRODUCT[@]}")" ]
}

committed=''
if [ "${1:-}" = --changed ]; then
  shift
  reported=$(sed -n 's/^commit: //p' conformance/reports/evidence.yaml 2>/dev/null || true)
  if [ -z "$reported" ]; then
    say "the whole suite: there is no report"
  elif differs_from "$reported"; then
    say "the whole suite: the product has changed since the report's commit $reported"
  else
    say "the core tests: the committed report speaks for this tree"
    committed=1 CORE=1
  fi
fi

build() {
  say "compiling the suite (minutes the first time, then cached), and the tests of its verdict"
  (
    cd conformance
    export GOTOOLCHAIN=local
    go vet ./...
    go test ./internal/...
    go test -c -o "$BIN/conformance.test" .
    go build -o "$BIN/conformance-verdict" ./cmd/verdict
  )
}

# ---- clusters -------------------------------------------------------------------------------------------------

in_tenant() {
  if [ -n "$TENANT_KUBECONFIG" ]; then KUBECONFIG=$TENANT_KUBECONFIG "$@"; else "$BIN/lab" exec --cluster tenant-a -- "$@"; fi
}

on_hub() {
  if [ -n "$TENANT_KUBECONFIG" ]; then KUBECONFIG=$HUB_KUBECONFIG "$@"; else "$BIN/lab" exec -- "$@"; fi
}

has_hub() { [ -z "$TENANT_KUBECONFIG" ] || [ -n "$HUB_KUBECONFIG" ]; }

fresh_lab() {
  LAB=kubelb-conformance
  export KUBELB_LAB=$LAB
  say "fresh clusters: lab $LAB"
  make --no-print-directory build
  "$BIN/lab" down
  if [ -z "$KEEP" ]; then undo+=("$BIN/lab down"); fi
  "$BIN/lab" up
  "$BIN/lab" exec -- "$BIN/deploy" --binaries "$BIN" install
}

undo=()
finish() {
  local status=$? index
  for ((index = ${#undo[@]} - 1; index >= 0; index--)); do ${undo[index]} || true; done
  exit "$status"
}
trap finish EXIT

# Static addresses and infrastructure metadata are off by default, and on for the tenant under test.
allow_optional_features() {
  local before
  before=$(on_hub kubectl get tenant "$TENANT" -o 'jsonpath={.spec.gatewayAPI.addressCIDRs}{.spec.gatewayAPI.infrastructureMetadata}')
  if [ -n "$before" ]; then
    say "tenant $TENANT has settings of its own for static addresses or infrastructure metadata: left alone"
    return
  fi
  say "static addresses from $POOL and infrastructure metadata are on for tenant $TENANT while the suite runs"
  undo+=("restore_tenant")
  patch_tenant "{\"spec\":{\"gatewayAPI\":{\"addressCIDRs\":[\"${POOL//,/\",\"}\"],\"infrastructureMetadata\":true}}}"
}

restore_tenant() { patch_tenant '{"spec":{"gatewayAPI":{"addressCIDRs":null,"infrastructureMetadata":null}}}'; }
patch_tenant() { on_hub kubectl patch tenant "$TENANT" --type merge --patch "$1" >/dev/null; }

# The last address of the pool: the lab gives the first free one, so nobody gets it meanwhile.
usable_address() {
  local network=${POOL%%,*} base prefix
  base=${network%/*} prefix=${network#*/}
  [[ $base =~ ^([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)$ ]] || fail "tell USABLE_ADDRESS, a free address of $POOL"
  local number=$(((BASH_REMATCH[1] << 24) + (BASH_REMATCH[2] << 16) + (BASH_REMATCH[3] << 8) + BASH_REMATCH[4]))
  local last=$((number + (1 << (32 - prefix)) - 2))
  echo "$((last >> 24 & 255)).$((last >> 16 & 255)).$((last >> 8 & 255)).$((last & 255))"
}

# The suite fails at once on a namespace of its last run that is still going.
wait_for_last_run() {
  local namespace phase
  for namespace in gateway-conformance-infra gateway-conformance-app-backend gateway-conformance-web-backend; do
    phase=$(in_tenant kubectl get namespace "$namespace" --ignore-not-found -o 'jsonpath={.status.phase}')
    if [ "$phase" = Terminating ]; then
      say "waiting for $namespace of the last run to be gone"
      in_tenant kubectl wait --for=delete "namespace/$namespace" --timeout=180s
    fi
  done
}

# ---- run ------------------------------------------------------------------------------------------------------

build
if [ -n "$committed" ]; then
  say "the committed report"
  "$BIN/conformance-verdict" -folder conformance/reports -scope whole -commit
fi
if [ -n "$TENANT_KUBECONFIG" ]; then
  [ -n "$HUB_KUBECONFIG" ] || say "no HUB_KUBECONFIG: the Tenant must allow static addresses and infrastructure metadata already"
elif [ -z "$LAB" ]; then
  fresh_lab
fi
export KUBELB_LAB=$LAB
if [ -z "$POOL" ] && [ -z "$TENANT_KUBECONFIG" ]; then POOL=$(on_hub printenv KUBELB_LB_POOL); fi

scope=whole folder=$PWD/conformance/out arguments=()
if [ -n "$RUN$SMOKE$PROFILE" ] || [ "$#" -gt 0 ]; then scope=narrowed; fi
if [ -n "$CORE" ] && [ "$scope" = whole ]; then scope=core; fi
[ -z "$RUN" ] || arguments+=(-only "$RUN")
[ -z "$SMOKE" ] || arguments+=(-smoke)
[ -z "$CORE" ] || arguments+=(-core)
[ -z "$PROFILE" ] || arguments+=(-conformance-profiles "$PROFILE")
if [ -n "$POOL" ]; then
  arguments+=(-hub-pool "$POOL" -usable-address "${USABLE_ADDRESS:-$(usable_address)}" -unusable-address 192.0.2.1)
fi
if commit=$(git rev-parse --verify --quiet HEAD); then
  arguments+=(-commit "$commit")
  if differs_from "$commit"; then arguments+=(-uncommitted-changes); fi
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

if has_hub; then allow_optional_features; fi
wait_for_last_run
in_tenant kubectl wait --for=condition=Accepted gatewayclass/kubelb --timeout=60s >/dev/null
mkdir -p "$folder"
rm -f "$folder"/{report,evidence}.yaml
log=$folder/suite.log
say "the suite ($scope); its log is $log"
status=0
in_tenant "$BIN/conformance.test" -test.v -test.timeout 90m -test.run '^TestConformance$' \
  -version "v$version" -folder "$folder" "${arguments[@]}" "$@" >"$log" || status=$?
[ -e "$folder/evidence.yaml" ] || { tail -n 30 "$log" >&2; fail "the suite did not run"; }
echo
"$BIN/conformance-verdict" -folder "$folder" -scope "$scope" | tee "$folder/table.txt" || status=1
if [ "$scope" = whole ]; then
  mkdir -p conformance/reports
  cp "$folder"/{report.yaml,evidence.yaml,table.txt} conformance/reports/
  say "report: conformance/reports/"
fi
exit "$status"
