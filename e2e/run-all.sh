#!/usr/bin/env bash
# Everything that CI runs, on a lab of its own: formatting, lints, unit tests with real Envoy, the charts, the stories,
# and the Gateway API conformance suite. Nothing runs after a step that failed. Ends with a summary, which names what
# was not run and the log of what failed; the lab is removed at the end, also after a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
LAB=${LAB:-kubelb-test}
TARGET=${CARGO_TARGET_DIR:-target}
BIN=$TARGET/release
export LAB BIN KUBELB_LAB=$LAB
logs=${TMPDIR:-/tmp}/$LAB-steps # one for each step of this run
log=
summary=()
begun=0              # steps
open="the beginning" # what is being done; nothing is when all has been
failed=0
begin=$SECONDS
rm -rf "$logs"
mkdir -p "$logs"

step() { # name, command…
  local name=$1 from=$SECONDS result=ok
  shift
  begun=$((begun + 1)) open=$name log=$logs/${name//[^a-z0-9]/-}.log
  echo "==> [$((SECONDS - begin))s] $name"
  "$@" 2>&1 | tee "$log" || result=FAILED
  sum_up "$result" "$((SECONDS - from))s" "$name"
  [ "$result" = ok ] || return 1
  open="what follows $name" log=
}

sum_up() { # result, time, name
  local line
  line=$(printf '%-8s %6s  %s' "$@")
  if [ "$1" != ok ]; then failed=1 line+="${log:+; its log: $log}"; fi
  summary+=("$line")
}

steps() { # the names of all steps, as they stand below
  sed -n 's/^step "\([^"]*\)".*/\1/p' e2e/run-all.sh
}

long_runs() { # the names of the soak tests, as their source has them
  sed -n '/^#\[test\]/{n;s/^fn \([a-z0-9_]*\).*/\1/p;}' e2e/tests/soak/*.rs | tr _ ' '
}

not_run() { # what was left out: after a failure, or for its time
  steps | tail -n "+$((begun + 1))"
  if grep -qs '^==> the core tests' "$logs/conformance.log"; then echo "the whole conformance suite: make conformance"; fi
  long_runs | sed 's/^/make soak: /'
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
  local left folder=${TMPDIR:-/tmp}/$LAB-logs lab_logs=
  if [ -n "$open" ] && [ "$failed" -eq 0 ]; then sum_up STOPPED "" "$open"; fi
  left=$(not_run)
  if [ -x "$BIN/lab" ]; then
    if [ "$failed" -ne 0 ] && "$BIN/lab" logs --to "$folder"; then lab_logs=$folder; fi
    step "lab-down" "$BIN/lab" down || true
  fi
  echo
  echo "Summary of make test ($((SECONDS - begin))s)"
  printf '  %s\n' "${summary[@]}"
  sed 's/^/  NOT RUN          /' <<<"$left"
  if [ "$failed" -eq 0 ]; then echo "  all passed"; else echo "  something failed${lab_logs:+; logs of the lab: $lab_logs}"; fi
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
step "conformance" conformance/run.sh --changed
open=
