#!/bin/sh
# What the Dockerfile runs, so that it can also be run, step by step, where no container engine is:
# in a minimal Debian tree (docs/operations/deploy.md, "Without a container engine").
#
#   image-build.sh packages      Debian packages of the builder, as root
#   image-build.sh build OUT     every binary, optimized, into the directory OUT
#   image-build.sh runtime       Debian packages that the binaries need to run, as root
#
# It stands alone: nothing else of the tree is there when the packages are installed.
set -eu

install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o Acquire::Retries=3 update
    apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --no-install-recommends "$@"
    # A layer keeps what is left lying about.
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
}

build() { # OUT
    binaries='heliograph heliograph-gateway heliograph-writer heliograph-detector heliograph-query'
    # The toolchain is that of the builder's image, which has no clippy and no rustfmt to add.
    RUSTUP_TOOLCHAIN=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    # Names of functions stay for backtraces; lines would be half of an image.
    export RUSTUP_TOOLCHAIN CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_INCREMENTAL=0
    # `tls`: Kafka on a cluster wants TLS and SCRAM.
    cargo build --release --locked --bins -p heliograph -p heliograph-gateway \
        -p heliograph-writer -p heliograph-detector -p heliograph-query -p heliograph-log \
        --features heliograph-log/tls
    mkdir -p "$1"
    for binary in $binaries; do
        cp "${CARGO_TARGET_DIR:-target}/release/$binary" "$1/"
    done
}

case ${1-} in
# librdkafka, the Kafka client, is built from source: C, C++, make; TLS and zlib are Debian's.
packages) install g++ gcc libc6-dev libssl-dev make pkg-config zlib1g-dev ;;
build) build "${2:?want a directory for the binaries}" ;;
# zlib and the C library are in every Debian; ca-certificates for brokers with public certificates.
runtime) install ca-certificates libgcc-s1 libssl3 zlib1g ;;
*) echo "image-build: want packages, build OUT or runtime" >&2 && exit 64 ;;
esac
