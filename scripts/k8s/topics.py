"""Are Strimzi's topics those of schemas/kafka/topics.toml, made as `heliograph migrate` makes them,
on a cluster that keeps what an acknowledgement promises?"""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from tree import Finding, Overlay, Resource, Tree

ADAPTER = "crates/log/src/kafka/config.rs"
# What nobody but an operator of the cluster may do.
OPERATIONS = {"Read", "Write", "Describe", "DescribeConfigs"}


def check(tree: Tree) -> Iterator[Finding]:
    declared = tomllib.loads((tree.root / "schemas/kafka/topics.toml").read_text())["topic"]
    adapter = (tree.root / ADAPTER).read_text()
    batch, framing = (_constant(adapter, n) for n in ("BATCH_MAX_BYTES", "FRAMING_MAX_BYTES"))
    for overlay in tree.overlays:
        brokers = _brokers(overlay)
        wanted = {t["name"]: _wanted(t, batch, framing, brokers) for t in declared}
        yield from _topics(overlay, wanted)
        for kafka in overlay.of("Kafka"):
            yield from _cluster(kafka, brokers)
        for user in overlay.of("KafkaUser"):
            yield from _user(user, set(wanted))


def _constant(source: str, name: str) -> int:
    """A product of numbers in the adapter, so that there is one place for it."""
    match = re.search(rf"const {name}: usize = ([\d_* ]+);", source)
    if match is None:
        raise ValueError(f"{ADAPTER}: no {name} of the form A * B")
    product = 1
    for factor in match[1].replace("_", "").split("*"):
        product *= int(factor)
    return product


def _brokers(overlay: Overlay) -> int:
    return sum(
        pool.spec.get("replicas", 0)
        for pool in overlay.of("KafkaNodePool")
        if "broker" in pool.spec.get("roles", [])
    )


def _copies(brokers: int) -> tuple[int, int]:
    """Copies of a record, and how many of them an acknowledgement waits for."""
    copies = min(3, brokers)
    return copies, max(1, copies - 1)


def _wanted(topic: dict[str, Any], batch: int, framing: int, brokers: int) -> dict[str, Any]:
    copies, in_sync = _copies(brokers)
    config = {
        "cleanup.policy": topic["cleanup"],
        "max.message.bytes": max(topic["max_message_bytes"], batch) + framing,
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": in_sync,
        "compression.type": "producer",
    }
    if "retention_hours" in topic:
        config["retention.ms"] = topic["retention_hours"] * 3_600_000
    return {"partitions": topic["partitions"], "replicas": copies, "config": config}


def _topics(overlay: Overlay, wanted: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    got = {t.spec.get("topicName", t.name): t for t in overlay.of("KafkaTopic")}
    for name in sorted(set(wanted) - set(got)):
        yield overlay.finding(f"no KafkaTopic {name}, which schemas/kafka/topics.toml declares")
    for name, topic in got.items():
        if name not in wanted:
            yield topic.finding("is not declared in schemas/kafka/topics.toml")
            continue
        for key in ("partitions", "replicas"):
            if topic.spec.get(key) != wanted[name][key]:
                yield topic.finding(
                    f"spec.{key}: got {topic.spec.get(key)}, want {wanted[name][key]}"
                )
        config, want = topic.spec.get("config") or {}, wanted[name]["config"]
        for key in sorted(set(config) | set(want)):
            if config.get(key) != want.get(key):
                yield topic.finding(
                    f"spec.config.{key}: got {config.get(key)}, want {want.get(key, 'none')}"
                )


def _cluster(kafka: Resource, brokers: int) -> Iterator[Finding]:
    copies, in_sync = _copies(brokers)
    wanted = {
        "auto.create.topics.enable": False,
        "log.message.timestamp.type": "LogAppendTime",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
    }
    config = kafka.spec["kafka"].get("config") or {}
    for key, want in wanted.items():
        if config.get(key) != want:
            yield kafka.finding(f"spec.kafka.config.{key}: got {config.get(key)}, want {want}")
    for listener in kafka.spec["kafka"]["listeners"]:
        if listener.get("tls") is not True or "authentication" not in listener:
            yield kafka.finding(f"listener {listener.get('name')}: want tls and authentication")
        if not listener.get("networkPolicyPeers"):
            yield kafka.finding(
                f"listener {listener.get('name')}: networkPolicyPeers: without them "
                "every pod may connect"
            )
    if kafka.spec["kafka"].get("authorization", {}).get("type") != "simple":
        yield kafka.finding(
            "spec.kafka.authorization.type: want simple: without it every user may do anything"
        )


def _user(user: Resource, topics: set[str]) -> Iterator[Finding]:
    for rule in user.spec.get("authorization", {}).get("acls", []):
        resource = rule.get("resource", {})
        name = resource.get("name")
        if set(rule.get("operations", [])) - OPERATIONS:
            yield user.finding(
                f"acls: {name}: got {', '.join(rule['operations'])}, want no more "
                f"than {', '.join(sorted(OPERATIONS))}"
            )
        if resource.get("patternType") != "literal":
            yield user.finding(f"acls: {name}: patternType: want literal")
        if resource.get("type") == "topic" and name not in topics:
            yield user.finding(f"acls: topic {name} is not declared in schemas/kafka/topics.toml")
