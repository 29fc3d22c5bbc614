#!/bin/sh
# Every check that needs no test run. Goes through all of them and fails at the end if one failed.
set -u
. "$(dirname -- "$0")/lib.sh"

cd "$root" || exit 1
scripts/setup.sh lint || exit 1
failed=
check() { # NAME COMMAND …
    name=$1
    shift
    say "$name"
    "$@" || failed="$failed, $name"
}

scripts() { git ls-files -co --exclude-standard '*.sh' .ci/run; }
shell() {
    # shellcheck disable=SC2046 # one word a file
    shellcheck --external-sources --source-path=SCRIPTDIR $(scripts)
}
# -L error: duplicates are warnings, and ten screens of them.
deny() { "$(scripts/fetch-cargo-deny.sh)" -L error --locked check bans licenses sources; }

check "format" cargo fmt --all --check
check "format of the fuzz targets" cargo fmt --manifest-path fuzz/Cargo.toml --check
check "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
check "licences and sources" deny
check "proto style" scripts/proto.sh lint
check "proto breaking changes" scripts/proto.sh breaking
check "scripts" shell
check "images, compose and Kubernetes" scripts/k8s/check.sh
check "names of machines and registries" scripts/check-tree.sh
[ -z "$failed" ] || die "failed: ${failed#, }"
say "all is well"
