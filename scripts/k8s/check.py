"""Everything that can be known of Dockerfile, compose.yaml and k8s/ without a cluster.

    check.py --kustomize FILE --binary target/debug/heliograph [--root DIR] [CHECK …]

Prints one line a finding; status 1 when there is one.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import compose
import images
import network
import policy
import settings
import shapes
import topics
from tree import BuildError, Finding, Tree

CHECKS: dict[str, Callable[[Tree], Iterator[Finding]]] = {
    "images": images.check,
    "shapes": shapes.check,
    "policy": policy.check,
    "settings": settings.check,
    "network": network.check,
    "topics": topics.check,
    "compose": compose.check,
}


def run(tree: Tree, names: list[str]) -> list[Finding]:
    """What the named checks find, in order."""
    try:
        return [finding for name in names for finding in CHECKS[name](tree)]
    except BuildError as error:
        return [Finding("k8s", str(error))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kustomize", required=True)
    parser.add_argument("--binary", required=True, help="heliograph, which loads configurations")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    args = parser.parse_args()
    unknown = set(args.checks) - set(CHECKS)
    if unknown:
        parser.error(f"no such check: {', '.join(unknown)}")
    found = run(Tree(args.root, args.kustomize, args.binary), args.checks or list(CHECKS))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
