#!/bin/sh
# Puts the ClickHouse engine (libchdb.so, 560 MB) into .tools/chdb and prints its path on stdout. A
# library that is already there is left alone, so this is cheap to call before every build. Version
# and hash are pinned.
set -eu
. "$(dirname -- "$0")/lib.sh"

version=26.5.3
case "$(uname -s)-$(uname -m)" in
Linux-x86_64)
    npm_file "$tools/chdb" @chdb/lib-linux-x64-gnu $version \
        sha512-fPrLmRt5Moor9yGz4mazbrNje4t7X9KB2mTGkXFWRxRBs2iKy8yh6jx11xsa0Qr3iDFMU/yHqd+bVdYJXu3QaQ== \
        libchdb.so
    ;;
*)
    die "no build is pinned for $(uname -s) $(uname -m); install a libchdb $version yourself and" \
        "set HELIOGRAPH_LIBCHDB to its path"
    ;;
esac
