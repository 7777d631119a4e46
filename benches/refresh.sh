#!/usr/bin/env bash
# Counts what a real client and a real cluster say to each other for successive versions of files:
# whole, as differences, unchanged one by one, and unchanged all together.
# Usage: benches/refresh.sh DIRECTORY
#
# DIRECTORY is one that `benches/versions.sh --into DIRECTORY` has filled: a directory for each file,
# with its versions in it. Everything is on loopback, and what it starts it ends.
set -euo pipefail

data=$(cd "${1:?usage: benches/refresh.sh DIRECTORY}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release --quiet
understudy=$PWD/target/release/understudy

work=$(mktemp -d)
mkdir "$work/www"
mkfifo "$work/stdin"
"$understudy" up --dir "$work/www" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --json \
    --until-stdin-ends <"$work/stdin" >"$work/events" &
up=$!
exec 9>"$work/stdin"
trap 'exec 9>&-; wait "$up" || true; rm -rf "$work"' EXIT
until grep -q '"event":"ready"' "$work/events"; do
    kill -0 "$up"
    sleep 0.1
done

# publish STEP: the versions that come so many places behind the oldest ones.
publish() {
    local file versions
    for file in "$data"/*/; do
        mapfile -t versions < <(find "$file" -type f -printf '%f\n' | sort -V)
        if [[ -n ${versions[$1]:-} ]]; then
            cp "$file/${versions[$1]}" "$work/www/new"
            mv "$work/www/new" "$work/www/$(basename "$file")"
        fi
    done
}

# ask WHAT ARGUMENTS...: a row of the table.
ask() {
    local what=$1
    shift
    local router
    router=$(python3 - "$work/events" <<'PYTHON'
import json, sys
events = map(json.loads, open(sys.argv[1]))
print(next(event["address"] for event in events if event.get("name") == "router"))
PYTHON
    )
    "$understudy" get --router "$router" --cache "$work/cache" --json "$@" >"$work/lines"
    python3 - "$what" "$work/lines" <<'PYTHON'
import collections, json, sys
lines = [json.loads(line) for line in open(sys.argv[2])]
kinds = collections.Counter(line["reply"] for line in lines)
whole = sum(line["bytes"] for line in lines)
wire = sum(line["wire_bytes"] for line in lines)
shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
print(f"| {sys.argv[1]} | {shown} | {whole:,} | {wire:,} | {100 * (1 - wire / whole):.2f} % |")
PYTHON
}

publish 0
mapfile -t keys < <(cd "$work/www" && find . -type f -printf '/%P\n' | sort)
echo "| asked for | answers | bytes of the items | bytes both ways | saved |"
echo "|---|---|---|---|---|"
ask "the oldest versions, for the first time" "${keys[@]}"
ask "the same, each with its digest" --validator strong "${keys[@]}"
ask "the same, each by the mirror alone" --validator none "${keys[@]}"
ask "the same, all together" --all
publish 1
ask "the next versions, all together" --all
publish 2
ask "the next versions, each with its digest" --validator strong "${keys[@]}"
