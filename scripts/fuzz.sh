#!/usr/bin/env bash
# Coverage-guided fuzzing of every parser with libFuzzer, on the toolchain of rust-toolchain.toml.
#
#   fuzz.sh [SECONDS] [TARGET …]  each target for SECONDS (20); all when none is named; two at a time,
#                                 or FUZZ_PARALLEL
#   fuzz.sh planted               finds the panic planted behind a parser, and none without it
#   fuzz.sh test                  each target for 20 s, what `make test` runs
#   fuzz.sh merge [TARGET …]      takes into fuzz/corpus what reached new code, as few as will do
#
# A target begins with fuzz/corpus and with what earlier runs found (target/fuzz/scratch), and ends
# at its first failure: a panic, a broken invariant, too much memory, too long. The input is then in
# target/fuzz/crashes. Results read as those of cargo test. docs/testing.md says more.
set -euo pipefail
. "$(dirname -- "$0")/lib.sh"

# The whole process, corpus included. libFuzzer looks once a second and saves the input; the limit
# of the address space is for what grows faster than that, and fails the allocation.
rss_mb_max=512
address_space_mb_max=2048
# One input. Long enough for a machine that is busy otherwise.
input_secs_max=10
input_bytes_max=4096
parallel=${FUZZ_PARALLEL:-2}
# The planted panic must be found within this many inputs. The seed makes most of the run the same
# each time (the hash maps of the code under test do not), and another may be tried: PLANTED_SEED.
planted_runs_max=2000000
planted_seed=${PLANTED_SEED:-1}
# Without the plant nothing is found in as many inputs as it took, and not in so many.
unplanted_runs_min=100000

out=$root/target/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
bin=$out/$triple/debug

targets() {
    for file in "$root"/fuzz/src/bin/*.rs; do
        name=$(basename -- "$file" .rs)
        [ "$name" = planted ] || printf '%s\n' "$name"
    done
}

# --target keeps the flags from build scripts and macros, which have no fuzzer to report to.
build() {
    say "building the targets (cold: a minute or two)"
    flags=(
        -Cpasses=sancov-module
        -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
        -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares
        -Cllvm-args=-simplifycfg-branch-fold-threshold=0
        -Ccodegen-units=1
        --cfg=fuzzing
    )
    encoded=$(printf '%s\x1f' "${flags[@]}")
    CARGO_ENCODED_RUSTFLAGS=${encoded%?} cargo build --quiet --locked \
        --manifest-path "$root/fuzz/Cargo.toml" --target "$triple" --target-dir "$out"
}

# fuzz BINARY CORPUS SCRATCH OPTION …: one run from fuzz/corpus/CORPUS; new inputs go to SCRATCH.
fuzz() {
    local binary=$1 corpus=$2 scratch=$3
    shift 3
    mkdir -p "$scratch" "$out/crashes"
    local dict=$root/fuzz/dict/$corpus.dict options=()
    if [ -f "$dict" ]; then options+=("-dict=$dict"); fi
    (
        ulimit -v $((address_space_mb_max * 1024))
        exec "$bin/$binary" "-use_value_profile=${value_profile:-1}" -rss_limit_mb=$rss_mb_max \
            -timeout=$input_secs_max -max_len=$input_bytes_max \
            -artifact_prefix="$out/crashes/$binary-" "${options[@]}" "$@" \
            "$scratch" "$root/fuzz/corpus/$corpus"
    )
}

# result NAME ok|FAILED DETAIL: one line, as cargo test writes it.
result() { printf 'test fuzz::%s ... %s (%s)\n' "$1" "$2" "$3" | tee -a "$out/results.txt"; }

explain_failure() { # NAME LOG
    local input
    tail -n 40 "$2" >&2
    input=$(sed -n 's/.*Test unit written to //p' "$2" | tail -n 1)
    if [ -n "$input" ]; then say "once more: ${bin#"$root"/}/$1 ${input#"$root"/}"; fi
}

# A run that ended by itself has counted its inputs.
one() { # SECONDS TARGET
    local log=$out/$2.log
    if fuzz "$2" "$2" "$out/scratch/$2" -max_total_time="$1" -print_final_stats=1 >"$log" 2>&1 &&
        grep -q '^Done ' "$log"; then
        result "$2" ok "$(sed -n 's/^Done //p' "$log"), $(grep -o 'cov: [0-9]*' "$log" | tail -n 1)"
    else
        explain_failure "$2" "$log"
        result "$2" FAILED "see above"
    fi
}

all() { # SECONDS TARGET …
    local seconds=$1 name
    shift
    for name in "$@"; do
        while [ "$(jobs -pr | wc -l)" -ge "$parallel" ]; do wait -n || true; done
        one "$seconds" "$name" &
    done
    wait
}

# The same seed and corpus, with the plant and without.
planted() {
    local log=$out/planted.log runs
    rm -rf "$out/planted" "$out"/crashes/planted-*
    if plant on "$planted_runs_max" "$log" || ! grep -q 'the planted panic' "$log" ||
        ! ls "$out"/crashes/planted-crash-* >/dev/null 2>&1; then
        tail -n 20 "$log" >&2
        result planted::is_found FAILED "not within $planted_runs_max inputs"
        return
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    result planted::is_found ok "after $runs inputs"
    if [ "$runs" -lt $unplanted_runs_min ]; then runs=$unplanted_runs_min; fi
    log=$out/unplanted.log
    if plant off "$runs" "$log" && grep -q "^Done $runs runs" "$log"; then
        result planted::nothing_without_it ok "$runs inputs"
    else
        explain_failure planted "$log"
        result planted::nothing_without_it FAILED "see above"
    fi
}

plant() { # on|off RUNS LOG
    value_profile=0 HELIOGRAPH_FUZZ_PLANT=$1 fuzz planted line "$out/planted/$1" "-runs=$2" \
        "-seed=$planted_seed" -max_len=256 -print_final_stats=1 >"$3" 2>&1
}

# Inputs of the scratch and the committed corpus that reach something; the rest goes.
merge() {
    local name new
    for name in "$@"; do
        new=$out/merged/$name
        rm -rf "$new"
        mkdir -p "$new" "$out/scratch/$name"
        "$bin/$name" -set_cover_merge=1 -use_counters=0 -max_len=$input_bytes_max -rss_limit_mb=$rss_mb_max \
            -timeout=$input_secs_max "$new" "$root/fuzz/corpus/$name" "$out/scratch/$name" \
            >"$out/$name.log" 2>&1 || die "no merge of $name, see ${out#"$root"/}/$name.log"
        rm -rf "${root:?}/fuzz/corpus/$name"
        cp -r "$new" "$root/fuzz/corpus/$name"
        say "$name: $(find "$new" -type f | wc -l) inputs, $(du -sb "$new" | cut -f 1) bytes"
    done
}

summary() {
    local passed failed word=ok
    passed=$(grep -c ' \.\.\. ok ' "$out/results.txt") || true
    failed=$(grep -c ' \.\.\. FAILED ' "$out/results.txt") || true
    if [ "$failed" -gt 0 ] || [ "$passed" -eq 0 ]; then word=FAILED; fi
    printf 'test result: %s. %d passed; %d failed\n' $word "$passed" "$failed"
    [ $word = ok ]
}

mode=fuzz
seconds=20
case ${1-} in
test | planted | merge) mode=$1 && shift ;;
*[!0-9]* | '') ;;
*) seconds=$1 && shift ;;
esac
if [ $# -eq 0 ]; then mapfile -t names < <(targets); else names=("$@"); fi
for name in "${names[@]}"; do
    if [ "$name" = planted ] || [ ! -f "$root/fuzz/src/bin/$name.rs" ]; then
        die "no target $name; there are: $(targets | paste -sd ' ')"
    fi
done
mkdir -p "$out"
: >"$out/results.txt"
if ! build; then
    result build FAILED "see above"
    mode=none
fi
case $mode in
fuzz) all "$seconds" "${names[@]}" ;;
planted) planted ;;
test) all "$seconds" "${names[@]}" && planted ;;
merge) merge "${names[@]}" && exit ;;
esac
summary
