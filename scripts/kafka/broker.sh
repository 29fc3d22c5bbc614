#!/bin/sh
# Runs one node of an Apache Kafka cluster (broker and controller in one, KRaft) on 127.0.0.1 until
# it is stopped. By hand, one broker for a look:
#
#   scripts/kafka/broker.sh data/kafka                      # 127.0.0.1:9092
#
# The testkit starts one or three this way:
#
#   broker.sh DIR NODE_ID PORT VOTERS    VOTERS is 1@127.0.0.1:9093,2@127.0.0.1:9094,…
#
# DIR keeps the node's data and is formatted at the first start. Becomes the Java process (exec), so
# that the caller's pid is the broker's.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
die() { printf 'broker: %s\n' "$*" >&2; exit 64; }

[ $# -ge 1 ] || die "want a data directory: broker.sh DIR [NODE_ID PORT VOTERS]"
mkdir -p "$1"
dir=$(CDPATH='' cd -- "$1" && pwd)
node=${2:-1}
port=${3:-9092}
voters=${4:-1@127.0.0.1:9093}
controller=$(printf '%s' "$voters" | tr ',' '\n' | sed -n "s/^$node@//p")
[ -n "$controller" ] || die "node $node is not one of the voters $voters"
nodes=$(printf '%s\n' "$voters" | tr ',' '\n' | wc -l)
replicas=$((nodes < 3 ? nodes : 3))
in_sync=$((replicas > 1 ? replicas - 1 : 1))

libs=$("$here/fetch.sh")

cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/log
# Topics come from schemas/kafka/topics.toml and nowhere else.
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=1
# A small node on one machine: little memory, no waiting for members that are not there.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
num.io.threads=2
num.network.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=500
PROPERTIES

# Any 16 bytes will do as long as all nodes have the same: this is "heliograph-tests".
heap="-Xms64m -Xmx${KAFKA_HEAP:-256m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
level=-Dorg.slf4j.simpleLogger.defaultLogLevel=${KAFKA_LOG_LEVEL:-warn}
# shellcheck disable=SC2086 # $heap is several words
java $heap $level -cp "$libs/*" kafka.tools.StorageTool format --ignore-formatted \
    -t aGVsaW9ncmFwaC10ZXN0cw -c "$dir/server.properties" >&2
# shellcheck disable=SC2086
exec java $heap $level -cp "$libs/*" kafka.Kafka "$dir/server.properties"
