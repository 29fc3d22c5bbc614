"""Is every configuration in k8s/ and compose.yaml one that the code reads? The real binary loads
it, file and environment as the pod would have them; an unknown key or a wrong value is its error.
What is effective is then held against the manifests: ports, drain times, users, addresses."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tree import WORKLOADS, Finding, Overlay, Resource, Tree

# Keys that take time at shutdown. One that is not here is a finding: the sum would be wrong.
DRAIN_KEYS: dict[str, tuple[str, ...]] = {
    "gateway": (
        "gateway.http.leave_delay",
        "gateway.http.drain_timeout",
        "gateway.leave_timeout",
    ),
    # The last commit is one question to the brokers.
    "writer": ("writer.consumer.drain_timeout_ms", "log.kafka.request_timeout_ms"),
    "detector": ("detector.consumer.drain_timeout_ms", "log.kafka.request_timeout_ms"),
    "query": ("query.http.leave_delay", "query.http.drain_timeout"),
}
SHUTDOWN_WORDS = re.compile(r"(^|[._])(drain|leave|leaving|shutdown)")
# A consumer that leaves its group waits for the brokers (CLOSE_TIMEOUT of crates/log/src/kafka/group.rs),
# and the writer then for its last rollups (ROLL_UP_MAX of services/writer/src/app.rs: 3 s).
GROUP_REST_SECS = {"writer": 13.0, "detector": 10.0}
# What no key says: handshakes in the backlog (crates/service/src/http/listener.rs), and blocking
# calls that may go on after all that (crates/service/src/runtime.rs: 2 s).
RUNTIME_REST_SECS = 3.0
SECRET = "from-a-secret"


def rest_secs(service: str) -> float:
    """What leaving takes beside the keys."""
    return RUNTIME_REST_SECS + GROUP_REST_SECS.get(service, 0.0)


@dataclass(frozen=True)
class Loaded:
    """What a process would run on."""

    config: dict[str, Any]
    mistakes: list[str]

    def get(self, key: str) -> Any:
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def load(binary: str, file: str | None, env: dict[str, str]) -> Loaded:
    """`heliograph config --json`, with nothing of our own environment."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as toml:
        command = [binary, "config", "--json"]
        if file is not None:
            toml.write(file)
            toml.flush()
            command += ["--config", toml.name]
        clean = {"PATH": os.environ.get("PATH", ""), **env}
        run = subprocess.run(command, capture_output=True, text=True, env=clean)
    mistakes = [
        line.removeprefix("error: ").replace(toml.name, "the file")
        for line in run.stderr.splitlines()
        if line.startswith("error: ")
    ]
    if run.returncode != 0 and not mistakes:
        mistakes = [f"{Path(binary).name} config: status {run.returncode}: {run.stderr.strip()}"]
    config = json.loads(run.stdout).get("config", {}) if run.stdout.strip() else {}
    return Loaded(config, mistakes)


def of_workload(tree: Tree, overlay: Overlay, workload: Resource) -> Loaded:
    """The configuration of a workload's first pod."""
    container = workload.pod["containers"][0]
    env = {v["name"]: _value(workload, v) for v in container.get("env", [])}
    path = env.pop("HELIOGRAPH_CONFIG", None)
    return load(tree.binary, None if path is None else _mounted(overlay, workload, path), env)


def _value(workload: Resource, variable: dict[str, Any]) -> str:
    source = variable.get("valueFrom", {})
    if source.get("fieldRef", {}).get("fieldPath") == "metadata.name":
        return f"{workload.name}-0"
    return SECRET if "secretKeyRef" in source else str(variable.get("value", ""))


def _mounted(overlay: Overlay, workload: Resource, path: str) -> str | None:
    """The text of the ConfigMap's key that the pod sees at `path`."""
    container = workload.pod["containers"][0]
    for mount in container.get("volumeMounts", []):
        if mount["mountPath"] != os.path.dirname(path):
            continue
        for volume in workload.pod.get("volumes", []):
            name = volume.get("configMap", {}).get("name")
            if volume["name"] == mount["name"] and name:
                config = overlay.one("ConfigMap", name)
                return None if config is None else config.body["data"].get(os.path.basename(path))
    return None


def check(tree: Tree) -> Iterator[Finding]:
    for overlay in tree.overlays:
        for workload in overlay.of(*WORKLOADS):
            yield from _mount(overlay, workload)
            loaded = of_workload(tree, overlay, workload)
            for mistake in loaded.mistakes:
                yield workload.finding(f"configuration: {mistake}")
            if loaded.mistakes:
                continue
            if workload.kind != "Job":
                yield from _drain(workload, loaded)
                yield from _instance(workload)
            yield from _kafka(overlay, workload, loaded)
            if loaded.get("store.user"):
                yield from _clickhouse(overlay, workload, loaded)
            if workload.name in ("writer", "detector"):
                yield from _partitions(overlay, workload)


def _mount(overlay: Overlay, workload: Resource) -> Iterator[Finding]:
    env = {v["name"]: v.get("value", "") for v in workload.pod["containers"][0].get("env", [])}
    path = env.get("HELIOGRAPH_CONFIG", "")
    if _mounted(overlay, workload, path) is None:
        yield workload.finding(
            f"HELIOGRAPH_CONFIG: got {path or 'nothing'}, want a file that a "
            "ConfigMap of the overlay is mounted at"
        )


def seconds(value: Any) -> float:
    """`"10s"`, `"250ms"`, or a number of milliseconds."""
    if isinstance(value, int):
        return value / 1000
    match = re.fullmatch(r"(\d+)(ms|s|m|h)", str(value))
    if match is None:
        raise ValueError(f"not a duration: {value!r}")
    return int(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2]]


def _drain(workload: Resource, loaded: Loaded) -> Iterator[Finding]:
    keys = DRAIN_KEYS.get(workload.name)
    if keys is None:
        yield workload.finding("no drain time is known for it: scripts/k8s/settings.py, DRAIN_KEYS")
        return
    for key in _leaves(loaded.config.get(workload.name, {}), workload.name):
        if SHUTDOWN_WORDS.search(key) and key not in keys:
            yield workload.finding(
                f"{key} takes time at shutdown, and scripts/k8s/settings.py does not count it"
            )
    hook = workload.pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    pause = hook.get("sleep", {}).get("seconds", 0)
    parts = {
        "preStop": pause,
        **{key: seconds(loaded.get(key)) for key in keys},
        "rest": rest_secs(workload.name),
    }
    needs = sum(parts.values())
    grace = workload.pod.get("terminationGracePeriodSeconds", 30)
    if grace <= needs:
        summands = ", ".join(f"{key} {value:g} s" for key, value in parts.items())
        yield workload.finding(
            f"terminationGracePeriodSeconds: got {grace}, want more than "
            f"{needs:g}, the sum of {summands}"
        )


def _leaves(table: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}"


def _instance(workload: Resource) -> Iterator[Finding]:
    if workload.name not in ("gateway", "writer", "detector"):
        return
    name = f"HELIOGRAPH_{workload.name.upper()}__INSTANCE"
    env = {v["name"]: v for v in workload.pod["containers"][0].get("env", [])}
    field = env.get(name, {}).get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
    if workload.kind != "StatefulSet" or field != "metadata.name":
        yield workload.finding(
            f"env {name}: want the pod's name (metadata.name) of a StatefulSet, "
            "one for each and the same over restarts"
        )


def _kafka(overlay: Overlay, workload: Resource, loaded: Loaded) -> Iterator[Finding]:
    addresses = {
        f"{kafka.name}-kafka-bootstrap:{listener['port']}"
        for kafka in overlay.of("Kafka")
        for listener in kafka.spec["kafka"]["listeners"]
    }
    got = loaded.get("log.kafka.bootstrap_servers")
    if got not in addresses:
        yield workload.finding(
            f"log.kafka.bootstrap_servers: got {got}, want {' or '.join(sorted(addresses))}"
        )
    env = {v["name"]: v for v in workload.pod["containers"][0].get("env", [])}
    prefix = "HELIOGRAPH_LOG__KAFKA__PROPERTIES__SASL_"
    user = env.get(f"{prefix}USERNAME", {}).get("value")
    secret = env.get(f"{prefix}PASSWORD", {}).get("valueFrom", {}).get("secretKeyRef", {})
    if user != f"heliograph-{workload.name}" or overlay.one("KafkaUser", str(user)) is None:
        yield workload.finding(
            f"env {prefix}USERNAME: got {user}, want a KafkaUser of its own, "
            f"heliograph-{workload.name}"
        )
    if (secret.get("name"), secret.get("key")) != (user, "password"):
        yield workload.finding(
            f"env {prefix}PASSWORD: got Secret {secret.get('name')} key "
            f"{secret.get('key')}, want {user} key password"
        )


def _clickhouse(overlay: Overlay, workload: Resource, loaded: Loaded) -> Iterator[Finding]:
    user, url, cluster = (loaded.get(f"store.{key}") for key in ("user", "url", "cluster"))
    server = next(overlay.of("ClickHouseInstallation"), None)
    if server is None or url != f"http://clickhouse-{server.name}:8123":
        yield workload.finding(
            f"store.url: got {url}, want the Service of a ClickHouseInstallation"
        )
        return
    configuration = server.spec["configuration"]
    password = configuration["users"].get(f"{user}/password", {}).get("valueFrom", {})
    env = {v["name"]: v for v in workload.pod["containers"][0].get("env", [])}
    own = env.get("HELIOGRAPH_STORE__PASSWORD", {}).get("valueFrom", {}).get("secretKeyRef")
    if user != f"heliograph_{workload.name}" or password.get("secretKeyRef") != own or own is None:
        yield workload.finding(
            f"store.user: got {user} with the password of {own}, want a user of "
            f"its own, heliograph_{workload.name}, of the ClickHouseInstallation "
            f"with the password of {password.get('secretKeyRef')}"
        )
    if f"{user}/grants/query" not in configuration["users"]:
        yield server.finding(
            f"configuration.users: want {user}/grants/query: without it the user may do anything"
        )
    name = configuration["clusters"][0]["name"]
    want = name if configuration["clusters"][0]["layout"].get("replicasCount", 1) > 1 else ""
    if cluster != want:
        yield workload.finding(
            f"store.cluster: got {cluster!r}, want {want!r}, as the "
            "ClickHouseInstallation has replicas or not"
        )


def _partitions(overlay: Overlay, workload: Resource) -> Iterator[Finding]:
    topic = overlay.one("KafkaTopic", "heliograph.uploads")
    partitions = topic.spec["partitions"] if topic else 0
    if workload.spec.get("replicas", 1) > partitions:
        yield workload.finding(
            f"replicas: got {workload.spec['replicas']}, want at most the "
            f"{partitions} partitions of heliograph.uploads"
        )
