#!/bin/sh
# Checks the contract (proto/): proto.sh lint | breaking | accept. The contract that readers rely on
# is the compiled one in schemas/proto; `breaking` fails when proto/ no longer keeps it or says
# more, `accept` makes today's proto/ the new one, which is to be reviewed and committed.
set -eu
. "$(dirname -- "$0")/lib.sh"

cd "$root"
image=schemas/proto/image.binpb
buf=$(scripts/fetch-buf.sh)
case ${1:-} in
lint) "$buf" lint ;;
breaking)
    [ -f "$image" ] || die "$image is missing: make proto-accept"
    "$buf" breaking --against "$image" ||
        die "the contract breaks its readers; when that is meant: make proto-accept"
    # What is not in it yet could be taken away again unnoticed.
    "$buf" build --exclude-source-info -o -#format=binpb | cmp -s - "$image" ||
        die "proto/ has grown: make proto-accept, then commit $image with it"
    ;;
accept)
    mkdir -p "$(dirname -- "$image")"
    "$buf" build --exclude-source-info -o "$image"
    say "$image holds the contract now: review proto/ and commit both"
    ;;
*) die "want lint, breaking or accept" ;;
esac
