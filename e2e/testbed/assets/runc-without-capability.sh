#!/bin/sh
# Runs the real runc where this machine cannot give CAP_SYS_RESOURCE: takes that capability, and OOM scores that need
# it, out of what the container asks for. Installed only where the capability is missing.
set -eu

real='@REAL@'

asked=''
previous=''
for word in "$@"; do
	case "$previous" in
	--bundle | -b) asked="$word/config.json" ;;
	--process | -p) asked="$word" ;;
	esac
	previous="$word"
done

if [ -n "$asked" ] && [ -f "$asked" ]; then
	granted="$asked.granted"
	jq -c '
		def granted: map_values(if type == "array" then map(select(. != "CAP_SYS_RESOURCE")) else . end);
		def process:
			(if .capabilities then .capabilities |= granted else . end)
			| (if (.oomScoreAdj // 0) < 0 then .oomScoreAdj = 0 else . end);
		if .process then .process |= process else process end
	' "$asked" >"$granted"
	cat "$granted" >"$asked"
	rm -f "$granted"
fi

exec "$real" "$@"
