"""The Dockerfile: what hadolint says, and that every image that is deployed is one of its targets,
on bases with a tag, as a user that is not root."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from policy import IMAGE
from tree import WORKLOADS, Finding, Tree

STAGE = re.compile(r"^FROM (\S+) AS (\S+)$", re.MULTILINE)


def check(tree: Tree) -> Iterator[Finding]:
    yield from _hadolint(tree.root / "Dockerfile")
    text = (tree.root / "Dockerfile").read_text()
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    parts = STAGE.split(text)[1:]
    stages = {name: (base, body) for base, name, body in zip(*[iter(parts)] * 3, strict=True)}
    for name, (base, _) in stages.items():
        image = re.sub(r"\$\{(\w+)\}", lambda found: defaults.get(found[1], ""), base)
        if image not in stages and not IMAGE.match(image):
            yield _finding(f"{name}: FROM {image}: want name:tag, and not latest")
    for target in sorted(set(_deployed(tree))):
        if target not in stages:
            yield _finding(f"no target {target}, which k8s/ deploys")
        elif not _is_user(target, stages):
            yield _finding(f"{target}: USER: want a number above 0, or it runs as root")


def _is_user(stage: str, stages: dict[str, tuple[str, str]]) -> bool:
    """The last USER of a stage, or of the one that it is built on."""
    base, body = stages[stage]
    users = re.findall(r"^USER (\S+)$", body, re.MULTILINE)
    if users:
        return re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]) is not None
    return base in stages and _is_user(base, stages)


def _deployed(tree: Tree) -> Iterator[str]:
    """`gateway` for heliograph/gateway:0.1.0, wherever the registry is."""
    for overlay in tree.overlays:
        for workload in overlay.of(*WORKLOADS):
            for container in workload.pod.get("containers", []):
                yield container.get("image", "").split(":")[0].rsplit("/")[-1]


def _hadolint(dockerfile: Path) -> Iterator[Finding]:
    tool = Path(sys.executable).parent / "hadolint"
    run = subprocess.run([tool, "-f", "json", dockerfile], capture_output=True, text=True)
    if not run.stdout.strip():
        yield _finding(f"hadolint: {run.stderr.strip() or f'status {run.returncode}'}")
        return
    for found in json.loads(run.stdout):
        yield _finding(f"line {found['line']}: {found['code']}: {found['message']}")


def _finding(what: str) -> Finding:
    return Finding("Dockerfile", what)
