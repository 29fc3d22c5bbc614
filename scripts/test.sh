#!/usr/bin/env bash
# Sets up and runs every test of the workspace once, to the end, then those of the checks of k8s/, and
# then fuzzes every parser for a while; the last line is "N passed, N failed" over all of them (also
# in target/test-result.txt). The status is 0 when nothing failed. With arguments only cargo test
# runs: they go to it.
set -euo pipefail
. "$(dirname -- "$0")/lib.sh"

cd "$root"
mkdir -p target
result=target/test-result.txt
log=target/test-output.txt
printf '0 passed, 1 failed\n' >"$result"
scripts/setup.sh test
status=0
cargo test --workspace --locked --no-fail-fast "$@" | tee "$log" || status=$?
# Whatever the tests said: these are results of their own.
if [ $# -eq 0 ]; then
    scripts/k8s/test.sh | tee -a "$log" || status=$?
    scripts/fuzz.sh test | tee -a "$log" || status=$?
fi
# A binary that crashed, or did not build, leaves no result line: it still counts as a failure.
awk -v status="$status" '
    /^test result: / {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^passed;?$/) passed += $i
            if ($(i + 1) ~ /^failed;?$/) failed += $i
        }
    }
    END {
        if (status != 0 && failed == 0) failed = 1
        printf "%d passed, %d failed\n", passed, failed
    }' "$log" >"$result"
cat "$result"
exit "$status"
