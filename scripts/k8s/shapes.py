"""Is every manifest one that its API takes? Kubernetes' own by the schemas of two releases, all
fields known; Strimzi's, Altinity's and the Prometheus Operator's by schemas/k8s, which hold the
fields that we use and no more."""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils
from referencing import Registry
from referencing import Resource as Schema
from referencing.jsonschema import DRAFT202012
from tree import Finding, Resource, Tree

# The oldest release with the fields that we use switched on, and the newest that can be checked.
RELEASES = ("1.33", "1.37")
OWN_GROUPS = ("strimzi.io", "altinity.com", "monitoring.coreos.com")

# Read anew for every manifest otherwise.
utils.schema_contents = lru_cache(utils.schema_contents)
utils.all_versions = lru_cache(utils.all_versions)


def check(tree: Tree) -> Iterator[Finding]:
    for overlay in tree.overlays:
        for resource in overlay.resources:
            group = str(resource.body.get("apiVersion")).split("/")[0]
            if group.endswith(OWN_GROUPS):
                yield from _custom(tree.root / "schemas/k8s", resource)
            else:
                yield from _kubernetes(resource)


def _kubernetes(resource: Resource) -> Iterator[Finding]:
    for release in RELEASES:
        try:
            kubernetes_validate.validate(resource.body, release, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield resource.finding(_text(error, f"Kubernetes {release}"))
            return
        except kubernetes_validate.SchemaNotFoundError as error:
            yield resource.finding(error.message)
            return


def _custom(schemas: Path, resource: Resource) -> Iterator[Finding]:
    file = schemas / f"{resource.kind.lower()}.json"
    if not file.is_file():
        yield resource.finding(f"no schema schemas/k8s/{file.name}")
        return
    validator = jsonschema.Draft202012Validator(_read(file), registry=_registry(schemas))
    for error in validator.iter_errors(resource.body):
        yield resource.finding(_text(error, f"schemas/k8s/{file.name}"))


def _text(error: jsonschema.ValidationError, schema: str) -> str:
    path = ".".join(str(part) for part in error.absolute_path) or "the resource"
    return f"{path}: {error.message} ({schema})"


@lru_cache
def _registry(schemas: Path) -> Registry[Any]:
    """`common.json` of ours, and `kubernetes.json` for what custom resources hold of Kubernetes."""
    newest = f"kubernetes-json-schema/v{RELEASES[-1]}.0-local-strict/_definitions.json"
    kubernetes = utils.schema_contents(newest, RELEASES[-1])
    return Registry().with_resources(
        [
            (
                "common.json",
                Schema(contents=_read(schemas / "common.json"), specification=DRAFT202012),
            ),
            ("kubernetes.json", Schema(contents=kubernetes, specification=DRAFT202012)),
        ]
    )


@lru_cache
def _read(file: Path) -> Any:
    return json.loads(file.read_text())
