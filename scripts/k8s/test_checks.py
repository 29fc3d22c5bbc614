"""Each check finds what it is there to find: the tree is copied, one thing in it is broken, and the
finding must name the place and the fault. Results read as those of cargo test.

    test_checks.py --kustomize FILE --binary target/debug/heliograph [NAME …]
"""

import argparse
import multiprocessing
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import check
from cases import CASES, Case
from tree import Tree

ROOT = Path(__file__).resolve().parents[2]
# What the checks read; nothing else is copied.
READ = ("Dockerfile", "compose.yaml", "k8s", "schemas/k8s", "schemas/kafka",
        "crates/log/src/kafka/config.rs")


def copy_to(directory: Path) -> None:
    for name in READ:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, target)


def broken(case: Case, kustomize: str, binary: str) -> None:
    """Fails unless the check finds what was broken."""
    with tempfile.TemporaryDirectory(prefix="heliograph-k8s-") as name:
        directory = Path(name)
        copy_to(directory)
        file = directory / case.file
        file.write_text(case.edit(file.read_text()))
        found = [str(f) for f in check.run(Tree(directory, kustomize, binary), [case.check])]
    assert any(all(word in line for word in case.words) for line in found), \
        f"want a finding with {case.words}, got {found or 'none'}"


def sound(kustomize: str, binary: str) -> None:
    """The tree as it is has nothing to be found: what a broken one shows is the break."""
    with tempfile.TemporaryDirectory(prefix="heliograph-k8s-") as name:
        copy_to(Path(name))
        found = check.run(Tree(Path(name), kustomize, binary), list(check.CHECKS))
    assert not found, "\n".join(map(str, found))


# Filled before the workers are forked, so that a worker needs a number only.
TESTS: list[tuple[str, Callable[[], None]]] = []


def run_one(index: int) -> str | None:
    """Why the test failed, if it did."""
    try:
        TESTS[index][1]()
    except AssertionError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - a test that fails in any way has failed
        return traceback.format_exc()
    return None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kustomize", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    TESTS.append(("the_tree_is_sound", lambda: sound(args.kustomize, args.binary)))
    for case in CASES:
        name = f"{case.check}::{re.sub('[^a-z0-9]+', '_', case.name.lower())}_is_found"
        TESTS.append((name, lambda case=case: broken(case, args.kustomize, args.binary)))
    if args.names:
        TESTS[:] = [test for test in TESTS if any(part in test[0] for part in args.names)]
    failed = 0
    fork = multiprocessing.get_context("fork")
    with fork.Pool() as pool:
        results = pool.imap(run_one, range(len(TESTS)))
        for (name, _), failure in zip(TESTS, results, strict=True):
            print(f"test k8s::{name} ... {'ok' if failure is None else 'FAILED'}", flush=True)
            if failure is not None:
                failed += 1
                print(failure, file=sys.stderr)
    word = "ok" if TESTS and not failed else "FAILED"
    print(f"test result: {word}. {len(TESTS) - failed} passed; {failed} failed")
    return 0 if word == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
