#!/bin/sh
# Calls the services that run here with a generic gRPC client (buf curl, by server reflection):
#
#   scripts/grpc.sh ListSites
#   scripts/grpc.sh GetSite '{"site_id": "nrel-rsf2"}'
#   scripts/grpc.sh heliograph.v1.AdminService/ListOffsets
#   scripts/grpc.sh --token                the operator's token, for another client
set -eu
. "$(dirname -- "$0")/lib.sh"

cd "$root"
endpoint=${HELIOGRAPH_DATA_DIR:-data}/endpoint.json
[ $# -gt 0 ] || die "want a method, such as ListSites, and its request as JSON"
[ -f "$endpoint" ] ||
    die "$endpoint is missing: nothing runs there; HELIOGRAPH_DATA_DIR names another directory"
field() { sed -n "s/.*\"$1\": *\"\\([^\"]*\\)\".*/\\1/p" "$endpoint"; }

case $1 in
--token) field operator_token ;;
*)
    case $1 in */*) method=$1 ;; *) method=heliograph.v1.QueryService/$1 ;; esac
    request=${2:-"{}"}
    # A zero is a value and is shown (--emit-defaults); the token goes through a pipe, because
    # arguments are for everybody to read.
    printf 'authorization: Bearer %s\n' "$(field operator_token)" |
        "$(scripts/fetch-buf.sh)" curl --protocol grpc --http2-prior-knowledge \
            --emit-defaults --header @- --data "$request" "$(field query)/$method"
    ;;
esac
