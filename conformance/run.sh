#!/usr/bin/env bash
# Runs the conformance suite in tenant-a of a lab that stands and has the product.
#
#   SMOKE=1          two tests instead of all
#   RUN=<test>       this one test
#   REPORT=<file>    where the report goes; conformance/report.yaml unless told
#   LAB, BIN         name of the lab, folder of the `lab` binary
#
# Further arguments are flags of the suite.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${LAB:=kubelb}" "${BIN:=target/release}" "${SMOKE:=}" "${RUN:=}" "${REPORT:=conformance/report.yaml}"
BIN=$(realpath "$BIN")
REPORT=$(realpath -m "$REPORT")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

in_tenant() { KUBELB_LAB=$LAB "$BIN/lab" exec --cluster tenant-a -- "$@"; }

echo "==> compiling the suite (minutes the first time, then cached)"
(cd conformance && GOTOOLCHAIN=local go test -c -o "$BIN/conformance.test" .)

# The suite fails at once on a namespace of its last run that is still going.
for namespace in gateway-conformance-infra gateway-conformance-app-backend gateway-conformance-web-backend; do
  phase=$(in_tenant kubectl get namespace "$namespace" --ignore-not-found -o 'jsonpath={.status.phase}')
  if [ "$phase" = Terminating ]; then
    echo "==> waiting for $namespace of the last run to be gone"
    in_tenant kubectl wait --for=delete "namespace/$namespace" --timeout=180s
  fi
done

arguments=(-version "$version" "$@")
if [ -n "$RUN" ]; then
  echo "==> $RUN"
  in_tenant "$BIN/conformance.test" -test.v -test.timeout 20m -test.run '^TestConformance$' -run-test "$RUN" "${arguments[@]}"
elif [ -n "$SMOKE" ]; then
  echo "==> smoke"
  in_tenant "$BIN/conformance.test" -test.v -test.timeout 15m -test.run '^TestSmoke$' "${arguments[@]}"
else
  echo "==> all tests of the features that the GatewayClass lists"
  in_tenant "$BIN/conformance.test" -test.v -test.timeout 90m -test.run '^TestConformance$' -report-output "$REPORT" "${arguments[@]}"
  echo "==> report: $REPORT"
fi
