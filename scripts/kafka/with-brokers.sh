#!/usr/bin/env bash
# Runs a command beside three Kafka brokers, which HELIOGRAPH_TEST_KAFKA names to it: so that every
# test program of a run shares one set. Ends with the command's status; the brokers end with it.
#
#   scripts/kafka/with-brokers.sh cargo test --workspace
set -euo pipefail
here=$(cd -- "$(dirname -- "$0")" && pwd)
[ $# -gt 0 ] || { echo "with-brokers: want a command" >&2; exit 64; }

dir=$(mktemp -d)
pids=()
# shellcheck disable=SC2317 # the traps call it
stop() {
    [ ${#pids[@]} -eq 0 ] || kill -9 "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# All are held until the last is found, so that they differ.
read -r -a ports < <(python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
print(*(s.getsockname()[1] for s in held))')
voters=1@127.0.0.1:${ports[3]},2@127.0.0.1:${ports[4]},3@127.0.0.1:${ports[5]}
"$here/fetch.sh" >/dev/null
for node in 1 2 3; do
    "$here/broker.sh" "$dir/$node" "$node" "${ports[node - 1]}" "$voters" \
        >"$dir/$node.out" 2>&1 </dev/null &
    pids+=($!)
done
# Who uses them waits until they are registered.
HELIOGRAPH_TEST_KAFKA=127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}
export HELIOGRAPH_TEST_KAFKA
status=0
"$@" || status=$?
for node in 1 2 3; do
    kill -0 "${pids[node - 1]}" 2>/dev/null || tail -n 20 "$dir/$node.out" >&2
done
exit "$status"
