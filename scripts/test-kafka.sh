#!/usr/bin/env bash
# The end-to-end suite and the log's own tests against real Kafka: three brokers for the whole run,
# and others for the cases that break some. The last line is "N passed, N failed, N skipped".
set -euo pipefail
. "$(dirname -- "$0")/lib.sh"

cd "$root"
log=target/test-kafka-output.txt
# The cases that run on either log are named kafka::…; these modules have nothing else.
only_kafka=(separate:: brokers:: faults_show)

run() {
    local status=0
    cargo test --workspace --locked --test kafka || status=$?
    cargo test --workspace --locked --test conformance -- kafka:: || status=$?
    cargo test --workspace --locked --test e2e -- kafka:: "${only_kafka[@]}" || status=$?
    return "$status"
}

if [ "${1:-}" = --beside-brokers ]; then
    run
    exit
fi
scripts/setup.sh test
cargo test --workspace --locked --no-run
status=0
scripts/kafka/with-brokers.sh "$0" --beside-brokers | tee "$log" || status=$?
echo "with three brokers of their own:"
awk '/^test .*brokers::/ { print "  " $2 }' "$log"
count_tests "$log" "$status"
exit "$status"
