# shellcheck shell=sh
# What the scripts share: they say what they do, and they install what the system lacks. Sourced by
# sh and bash alike. Nothing here speaks on stdout: that is for a script's result.

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
while [ ! -f "$root/rust-toolchain.toml" ] && [ "$root" != / ]; do root=$(dirname -- "$root"); done
tools=$root/.tools

say() { printf '%s: %s\n' "$(basename -- "$0" .sh)" "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# need COMMAND PACKAGE REASON: notes the Debian package when the command is missing.
missing=
need() {
    if command -v "$1" >/dev/null 2>&1; then return 0; fi
    want "$2" "$3"
}

# want PACKAGE REASON: notes a Debian package; install_missing gets what was noted.
want() {
    case " $missing " in *" $1 "*) return 0 ;; esac
    say "installing $1 because $2"
    missing="$missing $1"
}

# What more than one script asks for, with the one reason for it.
need_npm() { need npm npm "the embedded ClickHouse engine and buf come as npm packages"; }
need_java() { need java openjdk-17-jre-headless "real Kafka brokers run in the tests"; }
need_maven() { need mvn maven "Kafka's jars come through Maven"; }
need_venv() {
    # Debian's python3 has the module venv without what it needs to work.
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        want python3-venv "the tests compare with pandas, and the checks of k8s/ are Python"
}

# count_tests LOG STATUS: "N passed, N failed, N skipped" over all of cargo's test programs in LOG. A
# program that crashed, or did not build, leaves no line: it still counts as a failure.
count_tests() {
    awk -v status="$2" '
        /^test result: / {
            for (i = 1; i < NF; i++) {
                if ($(i + 1) ~ /^passed;?$/) passed += $i
                if ($(i + 1) ~ /^failed;?$/) failed += $i
                if ($(i + 1) ~ /^ignored;?$/) skipped += $i
            }
        }
        END {
            if (status != 0 && failed == 0) failed = 1
            printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        }' "$1"
}

apt_install() {
    as_root apt-get -qq -o Acquire::Retries=3 update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@"
}

# One update and one installation for everything that was noted; nothing when nothing is missing.
install_missing() {
    if [ -z "$missing" ]; then return 0; fi
    command -v apt-get >/dev/null ||
        die "no apt-get here: install the like of$missing, then run this again"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "that needs root, and sudo is missing: apt-get install$missing, then run this again"
    fi
    mkdir -p "$tools"
    # shellcheck disable=SC2086 # several words
    apt_install $missing >"$tools/apt.log" 2>&1 </dev/null || {
        tail -n 20 "$tools/apt.log" >&2
        die "apt-get could not install$missing (more in .tools/apt.log)"
    }
    missing=
}

# once DIR: the rest of the script in one process at a time; who waited finds the work done.
once() {
    mkdir -p "$1"
    exec 9>"$1/lock"
    if command -v flock >/dev/null; then flock 9; fi
}

# npm_file DIR PACKAGE VERSION INTEGRITY FILE: installs one pinned package with npm into DIR, unless
# it is there, and prints where FILE of it is. npm checks the hash. Run it in a subshell.
npm_file() {
    file=$1/node_modules/$2/$5
    stamp=$1/installed-$3
    if [ -f "$stamp" ] && [ -f "$file" ]; then printf '%s\n' "$file"; return 0; fi
    need_npm
    install_missing
    once "$1"
    if [ -f "$stamp" ] && [ -f "$file" ]; then printf '%s\n' "$file"; return 0; fi
    say "installing $2 $3 into ${1#"$root"/} (once)"
    name=heliograph-$(basename -- "$1")
    # The lock file carries the hash; without a "resolved" address npm asks whatever registry it is
    # configured for.
    cat >"$1/package.json" <<JSON
{ "name": "$name", "version": "0.0.0", "private": true, "dependencies": { "$2": "$3" } }
JSON
    cat >"$1/package-lock.json" <<JSON
{
  "name": "$name",
  "version": "0.0.0",
  "lockfileVersion": 3,
  "requires": true,
  "packages": {
    "": { "name": "$name", "version": "0.0.0", "dependencies": { "$2": "$3" } },
    "node_modules/$2": { "version": "$3", "integrity": "$4" }
  }
}
JSON
    rm -f "$1"/installed-*
    # --ignore-scripts: the package is data to us, nothing in it runs at installation.
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null) ||
        die "npm could not install $2 $3 (see above)"
    [ -f "$file" ] || die "$2 $3 holds no $5"
    : >"$stamp"
    printf '%s\n' "$file"
}
