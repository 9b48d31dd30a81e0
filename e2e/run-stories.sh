#!/usr/bin/env bash
# Runs whole-system stories on a lab that stands: run-stories.sh [suite]
# STORIES=soak runs the long ones instead. Ends with the line `N passed, N failed`.
set -euo pipefail
suite=${1:-}
: "${LAB:=kubelb}" "${BIN:=target/release}" "${STORIES:=stories}"

binary=$(cargo test --release -p e2e --test "$STORIES" --no-run --message-format=json |
  sed -n 's/.*"executable":"\([^"]*\/'"$STORIES"'-[^"]*\)".*/\1/p' | tail -n 1)
[ -x "$binary" ] || { echo "the stories were not built" >&2; exit 1; }

output=$(mktemp)
trap 'rm -f "$output"' EXIT
status=0
# One after another: some stories stop nodes and managers.
KUBELB_LAB=$LAB "$BIN/lab" exec -- \
  "$binary" --test-threads=1 ${suite:+"$suite::"} ${SHOW:+--show-output} 2>&1 | tee "$output" || status=$?

passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$output")
failed=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$output")
echo "${passed:-0} passed, ${failed:-0} failed"
[ "${passed:-0}" -gt 0 ] || { echo "no story ran" >&2; exit 1; }
exit "$status"
