#!/bin/sh
# The tests of the checks of k8s/: each breaks one thing and wants it found. test.sh [NAME …]. Uses
# the binary that the tests of the workspace have built.
set -eu
. "$(dirname -- "$0")/../lib.sh"

cd "$root"
python=$(scripts/python-env.sh k8s)
kustomize=$(scripts/fetch-kustomize.sh)
[ -x target/debug/heliograph ] || cargo test --quiet --workspace --locked --no-run
"$python" scripts/k8s/test_checks.py --kustomize "$kustomize" --binary target/debug/heliograph "$@"
