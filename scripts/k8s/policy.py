"""What we want of every workload, beyond a shape that Kubernetes takes."""

import re
from collections.abc import Iterator
from typing import Any

from tree import COMPONENT, WORKLOADS, Finding, Overlay, Resource, Tree

COMPONENTS = {
    "base",
    "clickhouse",
    "config",
    "detector",
    "gateway",
    "kafka",
    "migrate",
    "monitoring",
    "query",
    "writer",
}
# A name, and a tag that somebody chose.
IMAGE = re.compile(
    r"^[a-z0-9][a-z0-9./_-]*:(?!latest$|latest@)[A-Za-z0-9][\w.-]*(@sha256:[0-9a-f]{64})?$"
)
QUANTITIES = ("cpu", "memory", "ephemeral-storage")


def check(tree: Tree) -> Iterator[Finding]:
    for overlay in tree.overlays:
        yield from _labels(overlay)
        yield from _secrets(overlay)
        yield from _namespace(overlay)
        for workload in overlay.of(*WORKLOADS):
            yield from _pod(overlay, workload)
            for container in workload.pod.get("containers", []):
                yield from _container(workload, container, read_only=True)
                if workload.kind != "Job":
                    yield from _probes(workload, container)
            if workload.kind != "Job":
                yield from _replicas(overlay, workload)
        for custom in overlay.of("ClickHouseInstallation", "ClickHouseKeeperInstallation"):
            for template in custom.spec.get("templates", {}).get("podTemplates", []):
                spec = template.get("spec", {})
                yield from _not_root(custom, spec.get("securityContext") or {})
                for container in spec.get("containers", []):
                    yield from _container(custom, container, read_only=False)
        for custom in overlay.of("Kafka", "KafkaNodePool"):
            yield from _strimzi(custom)


def _labels(overlay: Overlay) -> Iterator[Finding]:
    for resource in overlay.resources:
        if resource.component not in COMPONENTS:
            yield resource.finding(
                f"metadata.labels.{COMPONENT}: got {resource.component}, want one of "
                f"{', '.join(sorted(COMPONENTS))}: it is applied by this label"
            )


def _secrets(overlay: Overlay) -> Iterator[Finding]:
    for secret in overlay.of("Secret"):
        yield secret.finding("a Secret in the tree: want it made beside it, and referred to")
    for workload in overlay.of(*WORKLOADS):
        for container in workload.pod.get("containers", []):
            for variable in container.get("env", []):
                name = variable.get("name", "")
                is_secret = re.search("PASSWORD|TOKEN|SECRET", name)
                if is_secret and "secretKeyRef" not in variable.get("valueFrom", {}):
                    yield workload.finding(f"env {name}: got a value, want a secretKeyRef")


def _namespace(overlay: Overlay) -> Iterator[Finding]:
    names = {
        r.body["metadata"].get("namespace") for r in overlay.resources if r.kind != "Namespace"
    }
    for name in names:
        if name is None or (space := overlay.one("Namespace", name)) is None:
            yield overlay.finding(f"namespace {name}: not in the overlay")
        elif space.labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield space.finding("pod-security.kubernetes.io/enforce: want restricted")


def _pod(overlay: Overlay, workload: Resource) -> Iterator[Finding]:
    pod = workload.pod
    yield from _not_root(workload, pod.get("securityContext") or {})
    if pod.get("automountServiceAccountToken") is not False:
        yield workload.finding("automountServiceAccountToken: want false")
    account = pod.get("serviceAccountName")
    if account != workload.name or overlay.one("ServiceAccount", str(account)) is None:
        yield workload.finding(
            f"serviceAccountName: got {account}, want one of its own, "
            f"{workload.name}, in the overlay"
        )


def _not_root(resource: Resource, security: dict[str, Any]) -> Iterator[Finding]:
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield resource.finding("securityContext: want runAsNonRoot: true and a runAsUser above 0")
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield resource.finding("securityContext.seccompProfile.type: want RuntimeDefault")


def _container(resource: Resource, container: dict[str, Any], read_only: bool) -> Iterator[Finding]:
    name = f"container {container.get('name')}"
    if not IMAGE.match(container.get("image", "")):
        yield resource.finding(
            f"{name}: image: got {container.get('image')}, want name:tag, and not latest"
        )
    security = container.get("securityContext") or {}
    wanted: dict[str, Any] = {"allowPrivilegeEscalation": False}
    if read_only:
        wanted["readOnlyRootFilesystem"] = True
    for key, want in wanted.items():
        if security.get(key) is not want:
            yield resource.finding(f"{name}: securityContext.{key}: want {str(want).lower()}")
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield resource.finding(f"{name}: securityContext.capabilities.drop: want [ALL]")
    if security.get("privileged") or security.get("runAsUser") == 0:
        yield resource.finding(f"{name}: securityContext: got privileged or root")
    yield from _resources(resource, name, container.get("resources") or {})


def _resources(resource: Resource, name: str, resources: dict[str, Any]) -> Iterator[Finding]:
    for part in ("requests", "limits"):
        for quantity in QUANTITIES:
            if quantity not in (resources.get(part) or {}):
                yield resource.finding(f"{name}: resources.{part}.{quantity}: want one")


def _probes(workload: Resource, container: dict[str, Any]) -> Iterator[Finding]:
    wanted = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for probe, path in wanted.items():
        got = (container.get(probe) or {}).get("httpGet") or {}
        if (got.get("path"), got.get("port")) != (path, "ops"):
            yield workload.finding(
                f"container {container['name']}: {probe}: got {got or 'none'}, "
                f"want {path} of port ops"
            )


def _replicas(overlay: Overlay, workload: Resource) -> Iterator[Finding]:
    replicas = workload.spec.get("replicas", 1)
    budgets = [
        b
        for b in overlay.of("PodDisruptionBudget")
        if b.spec.get("selector", {}).get("matchLabels", {}).items() <= workload.pod_labels.items()
    ]
    for budget in budgets:
        least, most = budget.spec.get("minAvailable"), budget.spec.get("maxUnavailable")
        if replicas < 2 or most in (0, "0%") or (least is not None and least in (replicas, "100%")):
            yield budget.finding(f"lets no pod of {replicas} go: no node could be drained")
    if overlay.name == "prod":
        if replicas < 2:
            yield workload.finding(f"replicas: got {replicas}, want at least 2")
        if len(budgets) != 1:
            yield workload.finding(f"got {len(budgets)} PodDisruptionBudgets, want 1")
        keys = [c.get("topologyKey") for c in workload.pod.get("topologySpreadConstraints", [])]
        if "topology.kubernetes.io/zone" not in keys:
            yield workload.finding("topologySpreadConstraints: want one over zones")
    if workload.kind == "Deployment" and replicas == 1:
        rolling = workload.spec.get("strategy", {}).get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0:
            yield workload.finding("strategy.rollingUpdate.maxUnavailable: want 0")


def _strimzi(resource: Resource) -> Iterator[Finding]:
    spec = resource.spec
    if resource.kind == "KafkaNodePool":
        template = spec.get("template", {})
        yield from _resources(resource, "brokers", spec.get("resources") or {})
        names: tuple[str, ...] = ("kafkaContainer", "initContainer")
    else:
        operator = spec.get("entityOperator", {})
        template = operator.get("template", {})
        for name in ("topicOperator", "userOperator"):
            yield from _resources(resource, name, operator.get(name, {}).get("resources") or {})
        names = ("topicOperatorContainer", "userOperatorContainer")
    if template.get("pod", {}).get("securityContext", {}).get("runAsNonRoot") is not True:
        yield resource.finding("template.pod.securityContext.runAsNonRoot: want true")
    for name in names:
        security = template.get(name, {}).get("securityContext", {})
        if security.get("capabilities", {}).get("drop") != ["ALL"]:
            yield resource.finding(f"template.{name}.securityContext.capabilities.drop: want [ALL]")
