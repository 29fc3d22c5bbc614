#!/usr/bin/env bash
# Switches off one guard after another in a test build and runs the test that must miss it. Prints a
# table, writes target/torture/guards.jsonl, and fails when a guard is not missed. KILLS=20 of each.
set -euo pipefail
. "$(dirname -- "$0")/lib.sh"

cd "$root"
scripts/setup.sh test
features=heliograph/unguarded,heliograph-writer/unguarded
# The same packages and features each time, or everything is compiled anew.
tests=(cargo test --workspace --locked --features "$features" --test e2e)
cargo test --workspace --locked --features "$features" --no-run
report=target/torture/report.json
table=target/torture/guards.jsonl
mkdir -p target/torture
: >"$table"
export KILLS=${KILLS:-20}
status=0

# guard NAME TEST: TEST must fail, or lose or double something, without it.
guard() {
    local log=target/torture/unguarded-$1.txt found=passed why=
    rm -f "$report"
    UNGUARDED=$1 "${tests[@]}" "$2" >"$log" 2>&1 || found=failed
    if [ -f "$report" ]; then
        why=$(python3 -c '
import json, sys
report = json.load(open(sys.argv[1]))
print(", ".join(f"{key} {report[key]}" for key in ("missing", "duplicate", "rollup_mismatch")))
' "$report")
    else
        why=$(grep -a -m 1 "^Error: " "$log" | cut -c 8-120 || true)
    fi
    [ "$found" = failed ] || status=1
    printf '{"guard":"%s","test":"%s","result":"%s","what":"%s"}\n' \
        "$1" "$2" "$found" "${why//\"/\'}" >>"$table"
    printf '%-16s %-18s %-7s %s\n' "$1" "$2" "$found" "$why"
}

printf '%-16s %-18s %-7s %s\n' "without" "test" "result" "what it saw"
guard fsync durable::no_answer
guard insert_fsync durable::no_answer
guard identity torture::local
guard acknowledgement torture::local
guard recompute torture::local
guard revoke torture::kafka
exit "$status"
