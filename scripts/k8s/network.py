"""Do NetworkPolicies, Services and containers speak of the ports that the processes listen on?"""

from collections.abc import Iterator
from typing import Any

from settings import Loaded, of_workload
from tree import WORKLOADS, Finding, Overlay, Resource, Tree

# Each service's own listeners, by the name of the container's port.
LISTENERS: dict[str, dict[str, str]] = {
    "gateway": {"http": "gateway.listen", "ops": "gateway.ops.listen"},
    "writer": {"ops": "writer.ops.listen"},
    "detector": {"ops": "detector.ops.listen"},
    "query": {"grpc": "query.listen", "ops": "query.ops.listen"},
}
# What a pod of ours calls: the NetworkPolicy to it must be there, and no other.
KAFKA, CLICKHOUSE, DNS = 9093, 8123, 53


def check(tree: Tree) -> Iterator[Finding]:
    for overlay in tree.overlays:
        yield from _default_deny(overlay)
        yield from _services(overlay)
        for workload in overlay.of(*WORKLOADS):
            loaded = of_workload(tree, overlay, workload)
            if loaded.mistakes:
                continue  # `settings` says so
            ports = {
                p["name"]: p["containerPort"]
                for p in workload.pod["containers"][0].get("ports", [])
            }
            yield from _listeners(workload, ports, loaded)
            yield from _ingress(overlay, workload, ports)
            yield from _egress(overlay, workload, loaded)


def _default_deny(overlay: Overlay) -> Iterator[Finding]:
    for policy in overlay.of("NetworkPolicy"):
        spec = policy.spec
        is_all = (
            spec.get("podSelector") == {} and not spec.get("ingress") and not spec.get("egress")
        )
        if is_all and sorted(spec.get("policyTypes", [])) == ["Egress", "Ingress"]:
            return
    yield overlay.finding("no NetworkPolicy that denies everything by default")


def _listeners(workload: Resource, ports: dict[str, int], loaded: Loaded) -> Iterator[Finding]:
    wanted = {}
    for name, key in LISTENERS.get(workload.name, {}).items():
        address = str(loaded.get(key))
        host, _, port = address.rpartition(":")
        if host not in ("0.0.0.0", "[::]"):
            yield workload.finding(
                f"{key}: got {address}, want an address that others reach: 0.0.0.0"
            )
        wanted[name] = int(port) if port.isdigit() else port
    if ports != wanted:
        yield workload.finding(f"ports: got {ports}, want those of the configuration, {wanted}")


def _services(overlay: Overlay) -> Iterator[Finding]:
    for service in overlay.of("Service"):
        selector = service.spec.get("selector", {})
        pods = [w for w in overlay.of(*WORKLOADS) if selector.items() <= w.pod_labels.items()]
        names = {
            p["name"]: p["containerPort"]
            for w in pods
            for p in w.pod["containers"][0].get("ports", [])
        }
        if not pods:
            yield service.finding(f"selector {selector}: selects no pod")
        for port in service.spec.get("ports", []):
            if names.get(str(port.get("targetPort"))) != port["port"]:
                yield service.finding(
                    f"port {port['port']}: targetPort {port.get('targetPort')}: "
                    f"want a port of the pods, {names}"
                )


def _ingress(overlay: Overlay, workload: Resource, ports: dict[str, int]) -> Iterator[Finding]:
    allowed = {
        _number(port, ports)
        for policy in _selecting(overlay, workload)
        for rule in policy.spec.get("ingress", [])
        for port in rule.get("ports", [{}])
    }
    if allowed != set(ports.values()):
        yield workload.finding(
            f"NetworkPolicies let in to {_list(allowed)}, and it listens on "
            f"{_list(set(ports.values()))}"
        )


def _egress(overlay: Overlay, workload: Resource, loaded: Loaded) -> Iterator[Finding]:
    allowed = {
        port.get("port", "any")
        for policy in _selecting(overlay, workload)
        for rule in policy.spec.get("egress", [])
        for port in rule.get("ports", [{}])
    }
    wanted: set[Any] = {DNS, KAFKA} | ({CLICKHOUSE} if loaded.get("store.user") else set())
    if allowed != wanted:
        yield workload.finding(
            f"NetworkPolicies let out to {_list(allowed)}, and it calls {_list(wanted)}"
        )


def _number(port: dict[str, Any], names: dict[str, int]) -> Any:
    got = port.get("port", "any")
    return names.get(got, got) if isinstance(got, str) else got


def _list(ports: set[Any]) -> str:
    return ", ".join(sorted(map(str, ports))) or "none"


def _selecting(overlay: Overlay, workload: Resource) -> Iterator[Resource]:
    labels = workload.pod_labels
    for policy in overlay.of("NetworkPolicy"):
        selector = policy.spec.get("podSelector", {})
        if not selector.get("matchLabels", {}).items() <= labels.items():
            continue
        expressions = selector.get("matchExpressions", [])
        if all(e["operator"] == "In" and labels.get(e["key"]) in e["values"] for e in expressions):
            yield policy
