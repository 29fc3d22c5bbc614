#!/bin/sh
# Puts the jars of one Apache Kafka broker (43 MB) into .tools/kafka and prints that directory on
# stdout. Jars that are already there are left alone, so this is cheap to call before every test
# run, and needs no network after the first. The version is pinned in pom.xml beside this file.
set -eu
. "$(dirname -- "$0")/../lib.sh"

pom=$root/scripts/kafka/pom.xml
dir=$tools/kafka
# The stamp names the pom it was made from: another version, another stamp.
stamp=$dir/installed-$(cksum <"$pom" | tr ' ' -)

need_java
once "$dir"
if [ ! -f "$stamp" ]; then
    need_maven
    install_missing
    say "copying Apache Kafka's jars into ${dir#"$root"/}/libs with Maven (43 MB; once)"
    rm -rf "$dir/libs" "$dir"/installed-*
    # Maven writes its temporary files beside the pom it is given, so it is given a copy.
    cp "$pom" "$dir/pom.xml"
    mvn -q -B -f "$dir/pom.xml" dependency:copy-dependencies -DoutputDirectory="$dir/libs" \
        >"$dir/maven.log" 2>&1 || {
        cat "$dir/maven.log" >&2
        die "Maven could not get the jars (see above)"
    }
    : >"$stamp"
fi
install_missing
printf '%s\n' "$dir/libs"
