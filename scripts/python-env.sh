#!/bin/sh
# Puts the pinned Python packages of the tests (pandas for the oracle, clients of InfluxDB and of
# Prometheus) into
# .tools/venv and prints the path of its python on stdout. An environment that is already there is
# left alone, so this is cheap to call before every test.
set -eu
. "$(dirname -- "$0")/lib.sh"

wanted=$root/tests/oracle/requirements.txt
dir=$tools/venv
stamp=$dir/installed-requirements.txt
# Beside the environment, which is made anew when the requirements change.
once "$tools"
if ! { [ -x "$dir/bin/python" ] && cmp -s "$wanted" "$stamp"; }; then
    need_venv
    install_missing
    say "installing pandas and the clients of InfluxDB and Prometheus into ${dir#"$root"/} (once)"
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --requirement "$wanted" >&2 || die "pip could not install what $wanted names (see above)"
    cp "$wanted" "$stamp"
fi
printf '%s\n' "$dir/bin/python"
