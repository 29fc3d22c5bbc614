#!/bin/sh
# Puts buf, which lints the proto files and finds breaking changes, into .tools/buf and prints its
# path on stdout. Version and hash are pinned.
set -eu
. "$(dirname -- "$0")/lib.sh"

case "$(uname -s)-$(uname -m)" in
Linux-x86_64)
    npm_file "$tools/buf" @bufbuild/buf-linux-x64 1.75.0 \
        sha512-YGGJAx0lpMCE7aMWjNOJcfoEaG/e+iYHnTC4SZ0P5eS4IffMryA9Z4/bb1m1wNXAEJ8ATFMEZOAk/5x9VE47ig== \
        bin/buf
    ;;
Linux-aarch64)
    npm_file "$tools/buf" @bufbuild/buf-linux-aarch64 1.75.0 \
        sha512-eX+XyokzJDqsNIFo8b1O3DBvbnksOozPJX4QVsNn61JqSUtWspyTNeYqwg8lRDancML+bDqZEDFPABjAsVCQGQ== \
        bin/buf
    ;;
*)
    command -v buf || die "no buf is pinned for $(uname -s) $(uname -m): install it yourself"
    ;;
esac
