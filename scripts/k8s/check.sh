#!/bin/sh
# Checks Dockerfile, compose.yaml and k8s/ without a container engine or a cluster: check.sh
# [CHECK …]; scripts/k8s/check.py lists them. The binary that will read a configuration judges it.
set -eu
. "$(dirname -- "$0")/../lib.sh"

cd "$root"
python=$(scripts/python-env.sh k8s)
kustomize=$(scripts/fetch-kustomize.sh)
# As the tests build it: another choice of packages has other features, and compiles everything anew.
cargo test --quiet --workspace --locked --no-run
"$python" scripts/k8s/check.py --kustomize "$kustomize" --binary target/debug/heliograph "$@"
