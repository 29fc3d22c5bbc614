"""compose.yaml: its shape, its hardening, and each service's environment as a configuration."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from policy import IMAGE
from settings import DRAIN_KEYS, load, rest_secs, seconds
from tree import Finding, Tree

OURS = ("migrate", "gateway", "writer", "detector", "query")


def check(tree: Tree) -> Iterator[Finding]:
    yield from _shape(tree)
    services = tree.compose.get("services", {})
    for name, service in services.items():
        for what in _hardening(service, is_ours=name in OURS):
            yield _finding(name, what)
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield _finding(name, f"ports: got {port}, want 127.0.0.1:…")
    for name in OURS:
        if name not in services:
            yield _finding(name, "not there")
            continue
        yield from _configuration(tree, name, services[name])


def _finding(service: str, what: str) -> Finding:
    return Finding(f"compose.yaml: {service}", what)


def _shape(tree: Tree) -> Iterator[Finding]:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "--output-format",
        "text",
        tree.root / "compose.yaml",
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        text = " ".join((run.stdout + run.stderr).split())
        yield Finding("compose.yaml", text.replace(f"{tree.root}/", ""))


def _hardening(service: dict[str, Any], is_ours: bool) -> Iterator[str]:
    if not IMAGE.match(service.get("image", "")):
        yield f"image: got {service.get('image')}, want name:tag, and not latest"
    if service.get("cap_drop") != ["ALL"]:
        yield "cap_drop: want [ALL]"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "security_opt: want no-new-privileges:true"
    if "mem_limit" not in service:
        yield "mem_limit: want one"
    if is_ours and service.get("read_only") is not True:
        yield "read_only: want true"
    if not is_ours and "healthcheck" not in service:
        yield "healthcheck: want one, what depends on it waits for it"


def _configuration(tree: Tree, name: str, service: dict[str, Any]) -> Iterator[Finding]:
    loaded = load(tree.binary, None, {k: str(v) for k, v in service["environment"].items()})
    for mistake in loaded.mistakes:
        yield _finding(name, f"configuration: {mistake}")
    if loaded.mistakes or name not in DRAIN_KEYS:
        return
    needs = rest_secs(name) + sum(seconds(loaded.get(key)) for key in DRAIN_KEYS[name])
    if seconds(service.get("stop_grace_period", "10s")) <= needs:
        yield _finding(
            name,
            f"stop_grace_period: got {service.get('stop_grace_period')}, want more "
            f"than {needs:g}s, what the service takes to leave",
        )
