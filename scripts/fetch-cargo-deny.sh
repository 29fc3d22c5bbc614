#!/bin/sh
# Builds cargo-deny, which checks licences and sources, into .tools/cargo-deny (two minutes on two
# cores; once) and prints its path on stdout. An optimized build would take longer than it saves.
set -eu
. "$(dirname -- "$0")/lib.sh"

version=0.20.2
dir=$tools/cargo-deny
once "$dir"
if [ ! -f "$dir/installed-$version" ]; then
    say "building cargo-deny $version into ${dir#"$root"/} (once)"
    rm -f "$dir"/installed-*
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 cargo install --quiet --debug --locked --force \
        --root "$dir" --target-dir "$dir/target" --version "$version" cargo-deny >&2 ||
        die "cargo could not build cargo-deny $version (see above)"
    rm -rf "$dir/target"
    : >"$dir/installed-$version"
fi
printf '%s\n' "$dir/bin/cargo-deny"
