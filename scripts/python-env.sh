#!/bin/sh
# Puts the pinned Python packages of a job into an environment below .tools and prints the path of
# its python on stdout: python-env.sh [oracle|k8s].
#
#   oracle   what the tests compare with: pandas, clients of InfluxDB, Prometheus; .tools/venv
#   k8s      the checks of Dockerfile, compose.yaml and k8s/; .tools/venv-k8s
#
# An environment that is already there is left alone, so this is cheap to call before every run.
set -eu
. "$(dirname -- "$0")/lib.sh"

case ${1-oracle} in
oracle)
    wanted=$root/tests/oracle/requirements.txt
    dir=$tools/venv
    what="pandas and the clients of InfluxDB and Prometheus"
    ;;
k8s)
    wanted=$root/scripts/k8s/requirements.txt
    dir=$tools/venv-k8s
    what="kubernetes-validate, check-jsonschema and hadolint"
    ;;
*) die "no such environment: $1; want oracle or k8s" ;;
esac
stamp=$dir/installed-requirements.txt
# Beside the environment, which is made anew when the requirements change.
once "$tools"
if ! { [ -x "$dir/bin/python" ] && cmp -s "$wanted" "$stamp"; }; then
    need_venv
    install_missing
    say "installing $what into ${dir#"$root"/} (once)"
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --requirement "$wanted" >&2 || die "pip could not install what $wanted names (see above)"
    cp "$wanted" "$stamp"
fi
printf '%s\n' "$dir/bin/python"
