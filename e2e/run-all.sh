#!/usr/bin/env bash
# Everything that CI runs, on a lab of its own: formatting, lints, unit tests with real Envoy, the charts, the stories,
# and the Gateway API conformance suite. Ends with a summary; the lab is removed at the end, also after a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
LAB=${LAB:-kubelb-test}
TARGET=${CARGO_TARGET_DIR:-target}
BIN=$TARGET/release
export LAB BIN KUBELB_LAB=$LAB
summary=()
suite=none # how much of the conformance suite ran
failed=0
begin=$SECONDS

step() { # name, command…
  local name=$1 from=$SECONDS result=ok
  shift
  echo "==> [$((SECONDS - begin))s] $name"
  "$@" || { result=FAILED; failed=1; }
  summary+=("$(printf '%-8s %5ss  %s' "$result" "$((SECONDS - from))" "$name")")
  [ "$result" = ok ]
}

long_runs() { # the names of the soak tests, as their source has them
  sed -n '/^#\[test\]/{n;s/^fn \([a-z0-9_]*\).*/\1/p;}' e2e/tests/soak/*.rs | tr _ ' '
}

conformance() { # the whole suite, or its core where the committed report speaks for this tree
  local output status=0
  output=$(mktemp)
  conformance/run.sh --changed 2>&1 | tee "$output" || status=$?
  if grep -q '^==> the core tests' "$output"; then suite=core; else suite=whole; fi
  rm -f "$output"
  return "$status"
}

holder_of() { # the first folder of those on standard input that has this program
  local program=$1 folder
  while read -r folder; do
    if [ -x "$folder/$program" ]; then echo "$folder"; return; fi
  done
  echo "none of the lab's folders has $program" >&2
  return 1
}

charts_with() { # folder of helm
  PATH=$1:$PATH charts/check.sh
}

finish() {
  if [ -x "$BIN/lab" ]; then
    if [ "$failed" -ne 0 ]; then "$BIN/lab" logs --to "${TMPDIR:-/tmp}/$LAB-logs" || true; fi
    step "lab-down" "$BIN/lab" down || true
  fi
  echo
  echo "Summary of make test ($((SECONDS - begin))s)"
  printf '  %s\n' "${summary[@]}"
  if [ "$suite" != whole ]; then echo "  NOT RUN  the whole conformance suite: make conformance"; fi
  long_runs | sed 's/^/  NOT RUN  make soak: /'
  if [ "$failed" -eq 0 ]; then echo "  all passed"; else echo "  something failed"; fi
  exit "$failed"
}
trap finish EXIT


step "build" make --no-print-directory build
step "third-party parts" "$BIN/lab" tools
# With these, a test that needs real Envoy fails where there is none; without them it would say NOT RUN.
parts=$("$BIN/lab" tools)
KUBELB_ENVOY_BIN=$(grep '/envoy$' <<<"$parts")
export KUBELB_ENVOY_BIN KUBELB_REQUIRE_REAL=1
step "unit tests and lints" make --no-print-directory unit
step "charts" charts_with "$(holder_of helm <<<"$parts")"
step "lab" "$BIN/lab" up
step "install" "$BIN/lab" exec -- "$BIN/deploy" --binaries "$BIN" install
step "install again (must change nothing that runs)" "$BIN/lab" exec -- "$BIN/deploy" --binaries "$BIN" install
step "stories" e2e/run-stories.sh
step "conformance" conformance
