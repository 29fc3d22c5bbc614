#!/bin/sh
# Checks every file of the tree, also those not committed yet: none names a directory of the machine
# that it was written on, none names a package registry's host (the clients know theirs). Lock files
# are as their clients write them.
set -eu
. "$(dirname -- "$0")/lib.sh"

cd "$root"
# The brackets keep this file from naming what it looks for.
paths='(/roo[t]|/hom[e]/[a-z]+|/wor[k]/(main|shared))(/|\b)'
hosts='registry[.]npmj[s]|registry[.]yarnpk[g]|pyp[i][.]org|pythonhoste[d]|crate[s][.]io/'
hosts="$hosts|(index|static)[.]crate[s]|repo1?[.]mave[n]|deb[.]debia[n]|proxy[.]golan[g]"
hosts="$hosts|(docker|ghcr|quay|gcr)[.]i[o]\b"
if git grep -n -I -E --untracked "$paths|$hosts" -- . ':!Cargo.lock' ':!*package-lock.json'; then
    die "these lines name a directory of one machine or a registry's host"
fi
