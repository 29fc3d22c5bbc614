#!/usr/bin/env bash
# The main job, `make run`: every service on this machine, with data of five real plants, some days
# of it and then live. Stays until Ctrl-C, or for RUN_FOR (60s, 5m; counted from when the services
# are ready), and stops what it started. DATA_DIR and PORT_BASE say where it runs, DAYS how much of
# the past is replayed.
set -euo pipefail
. "$(dirname -- "$0")/lib.sh"

cd "$root"
data=${DATA_DIR:-${HELIOGRAPH_DATA_DIR:-data}}
base=${PORT_BASE:-7070}
days=${DAYS:-3}
plants=5
heliograph=target/debug/heliograph
export HELIOGRAPH_DATA_DIR=$data
up=
fleet=

title() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi; }

# shellcheck disable=SC2317 # the traps call it
stop() { # PID: asks it to end, and waits until it has
    kill "$1" 2>/dev/null || return 0
    while kill -0 "$1" 2>/dev/null; do wait "$1" 2>/dev/null || true; done
}

# The loggers go first, so that none is refused by a gateway that is already leaving.
# shellcheck disable=SC2317
clean_up() {
    [ -z "$fleet" ] || stop "$fleet"
    [ -z "$up" ] || stop "$up"
    rm -rf "${scratch:-}"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

need_free_ports() {
    local port
    for port in "$base" $((base + 1)) $((base + 2)); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            die "port $port is in use; is another one running? else: PORT_BASE=7170 make run"
        fi
    done
}

# Returns when every service is ready. What is started here gets a session of its own: Ctrl-C is for
# this script, which stops them in order.
start_services() {
    local ready
    mkdir -p "$data"
    mkfifo "$scratch/ready"
    setsid "$heliograph" up --data-dir "$data" --port-base "$base" \
        >"$scratch/ready" 2>"$data/up.log" </dev/null &
    up=$!
    exec 4<"$scratch/ready"
    if ! read -r -t 120 ready <&4; then
        tail -n 20 "$data/up.log" >&2
        die "the services did not become ready (more in $data/up.log)"
    fi
    printf '%s\n' "$ready"
}

# The past and then live in one process, so that nothing is missing in between.
start_fleet() {
    setsid "$heliograph" simulate --tokens "$data/tokens.json" --days "$days" --live \
        ${RUN_FOR:+--for "$RUN_FOR"} </dev/null &
    fleet=$!
}

# Waits until every plant has readings that arrived since SINCE and no more of the past come in; not
# for ever, and not silently.
await_readings() { # SINCE
    local tries before="" now fresh
    for ((tries = 0; tries < 60; tries++)); do
        if [ -n "$interrupted" ] || ! kill -0 "$fleet" 2>/dev/null; then return 0; fi
        now=$("$heliograph" sites --json)
        fresh=$(awk -F '"last_received_at":"' -v since="$1" '$2 >= since' <<<"$now" | wc -l)
        if [ "$fresh" -ge "$plants" ] && [ "$now" = "$before" ]; then return 0; fi
        before=$now
        sleep 1
    done
    say "not all plants have new readings after a minute: see $data/up.log"
}

how_to_look() {
    title "Look at it from another terminal"
    [ "$data" = data ] || printf '  export HELIOGRAPH_DATA_DIR=%s\n' "$data"
    cat <<TEXT
  $heliograph sites
  $heliograph readings nrel-rsf2 --metric ac_power
  $heliograph readings --help          (ranges, steps, aggregates, --json)

Over gRPC with a generic client, buf curl or grpcurl (the token is in $data/endpoint.json):
  scripts/grpc.sh ListSites
  scripts/grpc.sh GetSite '{"site_id": "nrel-rsf2"}'
  grpcurl -plaintext -H "authorization: Bearer \$(scripts/grpc.sh --token)" \\
      127.0.0.1:$((base + 1)) heliograph.v1.QueryService/ListSites

In ClickHouse:
  curl 'http://127.0.0.1:$((base + 2))/?database=heliograph' \\
      -d 'SELECT site_id, count() FROM readings FINAL GROUP BY site_id'

What the services say: $data/up.log
TEXT
}

scripts/setup.sh run
need_free_ports
say "building heliograph (minutes at the first time)"
cargo build --locked -p heliograph
scratch=$(mktemp -d)

title "Starting every service in $data"
start_services
title "Registering the sample plants"
"$heliograph" site samples --sites "$plants" --tokens "$data/tokens.json"
title "Replaying the last $days days, then live data${RUN_FOR:+, $RUN_FOR in all}; Ctrl-C ends it"
interrupted=
trap 'interrupted=1' INT
since=$(date -u +%Y-%m-%dT%H:%M:%S)
start_fleet
await_readings "$since"
if [ -z "$interrupted" ]; then
    title "The plants"
    "$heliograph" sites
    how_to_look
    title "Live"
fi
status=0
[ -n "$interrupted" ] || wait -n "$fleet" "$up" || status=$?
kill -0 "$up" 2>/dev/null || {
    tail -n 20 "$data/up.log" >&2
    die "the services ended (more in $data/up.log)"
}
if [ -n "$interrupted" ]; then
    stop "$fleet"
    status=0
fi
fleet=
title "Summary"
"$heliograph" sites
exit "$status"
