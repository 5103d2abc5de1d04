"""The OpenAPI document, and the API held against it by a tool of somebody else (schemathesis)."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from engine.adapters.api.openapi import document
from engine.adapters.api.routes import ENTRIES
from engine.config.codes import CODES
from engine.model.access import SITE
from tests.adapters.api.rig import Running

DOCUMENT = document(ENTRIES)
SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT)))
load_all_checks()
FEW, MANY = 8, 150
MEANT_FOR_MORE = {
    f"{method} /api/v1{path}"
    for method, path in (
        ("POST", "/searches"),
        ("POST", "/exports"),
        ("POST", "/saved-searches"),
        ("POST", "/plans"),
        ("POST", "/orders"),
        ("POST", "/messages/{seq}/edits"),
        ("POST", "/messages/{seq}/edits/plan"),
    )
}
"""What a schema cannot say: an expression and a search are of our languages, a plan is of something, and an edited
message is HL7."""
QUIET = [
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.function_scoped_fixture,
    HealthCheck.data_too_large,
]


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


def _call(case: Case, shared: Running, headers: dict[str, str]) -> None:
    assert shared.address is not None
    host, port = shared.address
    # What it sends in the place of a secret of its own is not looked for here: test_route_table does.
    case.headers = {k: v for k, v in (case.headers or {}).items() if k.lower() not in ("authorization", "cookie")}
    case.cookies = {}
    excluded = [CHECKS.get_one("ignored_auth")]
    if case.operation.label in MEANT_FOR_MORE:
        excluded.append(CHECKS.get_one("positive_data_acceptance"))
    case.call_and_validate(
        base_url=f"http://{host}:{port}",
        headers=headers,
        excluded_checks=excluded,
    )


@SCHEMA.parametrize()
@settings(
    max_examples=FEW,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=QUIET,
)
def test_every_address_keeps_to_the_document(case: Case, shared: Running, admin: dict[str, str]):
    _call(case, shared, admin)


@pytest.mark.soak
@SCHEMA.parametrize()
@settings(
    max_examples=MANY,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=QUIET,
)
def test_every_address_keeps_to_the_document_long(case: Case, shared: Running, admin: dict[str, str]):
    _call(case, shared, admin)


def test_the_engine_is_well_after_all_that(shared, admin, caplog):
    assert shared.ask("GET", "/ready").json == {"ready": True}
    assert shared.ask("GET", "/audit/verify", headers=admin).json["whole"]
    assert Path(shared.folder / "channels" / "adt" / "channel.yaml").is_file()
