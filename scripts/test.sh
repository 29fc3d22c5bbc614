#!/usr/bin/env bash
# Sets up and runs every test of the workspace once, to the end, then those of the checks of k8s/, and
# then fuzzes every parser for a while; the last line is "N passed, N failed, N skipped" over all of
# them (also in target/test-result.txt). The status is 0 when nothing failed. With arguments only
# cargo test runs: they go to it.
set -euo pipefail
. "$(dirname -- "$0")/lib.sh"

cd "$root"
mkdir -p target
result=target/test-result.txt
log=target/test-output.txt
printf '0 passed, 1 failed\n' >"$result"
scripts/setup.sh test
status=0
tests=(cargo test --workspace --locked --no-fail-fast)
# One more than there are cores: the long ones mostly wait, for a broker or a time-out.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 1))}
: >"$log"
# Compiled first, so that the brokers do not stand beside the compiler.
if "${tests[@]}" --no-run "$@"; then
    scripts/kafka/with-brokers.sh "${tests[@]}" "$@" | tee "$log" || status=$?
else
    status=1
fi
# Whatever the tests said: these are results of their own.
if [ $# -eq 0 ]; then
    scripts/k8s/test.sh | tee -a "$log" || status=$?
    scripts/fuzz.sh test | tee -a "$log" || status=$?
fi
count_tests "$log" "$status" >"$result"
cat "$result"
exit "$status"
