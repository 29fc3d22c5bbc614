"""What the checks look at: the manifests of each overlay as kustomize builds them, compose.yaml.

A check is a function from here to findings; it prints nothing and changes nothing.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

OVERLAYS = ("dev", "prod")
WORKLOADS = ("StatefulSet", "Deployment", "Job")
COMPONENT = "app.kubernetes.io/component"


class BuildError(Exception):
    """kustomize could not build an overlay."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, and what it got and wants."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Resource:
    """One manifest of an overlay."""

    overlay: str
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind"))

    @property
    def name(self) -> str:
        return str(self.body.get("metadata", {}).get("name"))

    @property
    def labels(self) -> dict[str, str]:
        return self.body.get("metadata", {}).get("labels") or {}

    @property
    def spec(self) -> dict[str, Any]:
        return self.body.get("spec") or {}

    @property
    def pod(self) -> dict[str, Any]:
        """The pod's spec of a workload."""
        return self.spec.get("template", {}).get("spec") or {}

    @property
    def pod_labels(self) -> dict[str, str]:
        return self.spec.get("template", {}).get("metadata", {}).get("labels") or {}

    @property
    def component(self) -> str:
        return str(self.labels.get(COMPONENT))

    def finding(self, what: str) -> Finding:
        return Finding(f"k8s/overlays/{self.overlay}: {self.kind} {self.name}", what)


@dataclass
class Overlay:
    name: str
    resources: list[Resource]

    def of(self, *kinds: str) -> Iterator[Resource]:
        return (r for r in self.resources if r.kind in kinds)

    def one(self, kind: str, name: str) -> Resource | None:
        return next((r for r in self.of(kind) if r.name == name), None)

    def finding(self, what: str) -> Finding:
        return Finding(f"k8s/overlays/{self.name}", what)


@dataclass
class Tree:
    """A copy of the repository, or of the parts that the checks read."""

    root: Path
    kustomize: str
    binary: str

    @cached_property
    def overlays(self) -> list[Overlay]:
        return [self._build(name) for name in OVERLAYS]

    @cached_property
    def compose(self) -> dict[str, Any]:
        return yaml.safe_load((self.root / "compose.yaml").read_text())

    def _build(self, name: str) -> Overlay:
        where = self.root / "k8s/overlays" / name
        run = subprocess.run([self.kustomize, "build", where], capture_output=True, text=True)
        if run.returncode != 0 or run.stderr.strip():
            raise BuildError(f"k8s/overlays/{name}: kustomize build: {run.stderr.strip()}")
        bodies = yaml.load_all(run.stdout, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return Overlay(name, [Resource(name, body) for body in bodies if body])
