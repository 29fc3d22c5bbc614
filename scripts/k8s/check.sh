#!/bin/sh
# Checks Dockerfile, compose.yaml and k8s/ without a container engine or a cluster: check.sh
# [CHECK …]; scripts/k8s/check.py lists them. The binary that will read a configuration judges it.
set -eu
. "$(dirname -- "$0")/../lib.sh"

cd "$root"
python=$(scripts/python-env.sh k8s)
kustomize=$(scripts/fetch-kustomize.sh)
cargo build --quiet --locked -p heliograph --bin heliograph
"$python" scripts/k8s/check.py --kustomize "$kustomize" --binary target/debug/heliograph "$@"
