#!/bin/sh
# Gets what a job needs and this machine lacks: setup.sh JOB …, a job being build, run, lint or
# test. System packages come through apt-get, each with a line that says why; everything else goes
# into .tools. Cheap when nothing is missing, and then it needs no network.
set -eu
. "$(dirname -- "$0")/lib.sh"

[ $# -gt 0 ] || die "want the jobs to set up for: build, run, lint, test"
cd "$root"

command -v cargo >/dev/null || [ ! -x "$HOME/.cargo/bin/cargo" ] ||
    die "cargo is in ~/.cargo/bin, which is not in PATH: . ~/.cargo/env, then run this again"
command -v cargo >/dev/null || die "Rust is missing: install rustup, then run this again"
cargo --version >/dev/null ||
    die "the toolchain of rust-toolchain.toml is missing: rustup toolchain install, then run this" \
        "again"

for job in "$@"; do
    need c++ g++ "librdkafka, the Kafka client, is built from source with a C and a C++ compiler"
    need make make "librdkafka is built with make"
    case $job in
    build) ;;
    run) need_npm ;;
    lint)
        need_npm
        need_venv
        { cargo clippy --version && cargo fmt --version; } >/dev/null ||
            die "clippy or rustfmt is missing: rustup component add clippy rustfmt"
        need shellcheck shellcheck "it checks the scripts"
        ;;
    test)
        need_npm
        need_java
        need_maven
        need_venv
        need strace strace "a test watches the system calls behind a 2xx"
        ;;
    *) die "no such job: $job; want build, run, lint or test" ;;
    esac
done
install_missing

for job in "$@"; do
    case $job in
    run) scripts/fetch-libchdb.sh >/dev/null ;;
    lint)
        scripts/fetch-buf.sh >/dev/null
        scripts/fetch-cargo-deny.sh >/dev/null
        scripts/fetch-kustomize.sh >/dev/null
        scripts/python-env.sh k8s >/dev/null
        ;;
    test)
        scripts/fetch-libchdb.sh >/dev/null
        scripts/kafka/fetch.sh >/dev/null
        scripts/python-env.sh >/dev/null
        scripts/python-env.sh k8s >/dev/null
        scripts/fetch-kustomize.sh >/dev/null
        scripts/fetch-buf.sh >/dev/null
        ;;
    esac
done
