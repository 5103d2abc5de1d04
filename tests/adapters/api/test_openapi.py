"""The OpenAPI document, and the API held against it by a tool of somebody else (schemathesis)."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from engine.adapters.api.openapi import document
from engine.adapters.api.routes import ENTRIES
from engine.config.codes import CODES
from engine.model.access import SITE
from tests.adapters.api.rig import PARTS, Running, part_of_addresses

DOCUMENT = document(ENTRIES)
ADDRESSES = Path(__file__).with_name("addresses.py")
FEW, MANY = 8, 150


@pytest.fixture(scope="module")
def admin(shared: Running) -> dict[str, str]:
    return shared.token("schemathesis", {SITE: "admin"})


def test_every_entry_is_in_the_document_and_nothing_else():
    told = {f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == {entry.name for entry in ENTRIES}
    ids = [one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len(set(ids)) == len(ids)


def test_the_document_is_served_as_it_is_made_and_only_to_who_is_signed_in(shared, admin):
    reply = shared.ask("GET", "/openapi.json", headers=admin)
    assert reply.json == json.loads(json.dumps(DOCUMENT))
    assert shared.ask("GET", "/openapi.json").status == 401


def test_every_schema_in_it_is_one_and_every_reference_leads_somewhere():
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert names <= set(schemas)
    assert set(schemas) <= names, "and none is for nothing"


def test_every_path_parameter_is_described_and_every_change_can_be_refused():
    for path, methods in DOCUMENT["paths"].items():
        named = set(re.findall(r"{(\w+)}", path))
        for method, one in methods.items():
            told = {p["name"] for p in one.get("parameters", []) if p["in"] == "path"}
            assert told == named, path
            assert method == "get" or "403" in one["responses"], path


def test_a_refusal_is_a_problem_with_a_code_that_is_explained(shared, admin):
    for method, path, headers in (
        ("GET", "/users", {}),
        ("GET", "/none", admin),
        ("GET", "/messages?limit=0", admin),
        ("POST", "/orders", admin),
        ("PUT", "/health", admin),
    ):
        reply = shared.ask(method, path, headers=headers)
        assert reply.headers["content-type"] == "application/problem+json"
        told = reply.json
        assert told["status"] == reply.status and told["title"] == CODES[told["code"]].title
        assert told["type"] == f"urn:segmill:{told['code']}"


def _each_address(part: int, examples: int, *more: str) -> None:
    """Of a part of them, and that the engine is well after it; a run of its own, with an engine of its own."""
    words = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", *more, str(ADDRESSES)]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env={**os.environ, "SEGMILL_EXAMPLES": str(examples), "SEGMILL_PART": str(part), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(part_of_addresses(part)) + 1} passed" in ran.stdout


def test_the_parts_are_all_addresses():
    parts = [entry.name for part in range(PARTS) for entry in part_of_addresses(part)]
    assert sorted(parts) == sorted(entry.name for entry in ENTRIES)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_address_keeps_to_the_document(part: int):
    _each_address(part, FEW)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_every_address_keeps_to_the_document_long(part: int):
    _each_address(part, MANY, "--timeout", "7200")
