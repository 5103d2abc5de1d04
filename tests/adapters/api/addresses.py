"""Each address of the API held against its OpenAPI document by schemathesis; `test_openapi.py` has pytest run this.

No file of tests by its name: what schemathesis makes of the document for each address takes seconds, and each worker
of a run would make it anew.

`SEGMILL_EXAMPLES`: how many requests are drawn for an address, 8 where it is not set. `SEGMILL_PART`: 0, 1, ... of
`rig.PARTS`, the first where it is not set.
"""

import json
import os
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from engine.adapters.api.openapi import document
from engine.model.access import SITE
from tests.adapters.api.rig import Running, part_of_addresses

SCHEMA = schemathesis.openapi.from_dict(
    json.loads(json.dumps(document(part_of_addresses(int(os.environ.get("SEGMILL_PART", "0"))))))
)
load_all_checks()
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
    max_examples=int(os.environ.get("SEGMILL_EXAMPLES", "8")),
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=QUIET,
)
def test_every_address_keeps_to_the_document(case: Case, shared: Running, admin: dict[str, str]):
    _call(case, shared, admin)


def test_the_engine_is_well_after_all_that(shared, admin, caplog):
    assert shared.ask("GET", "/ready").json == {"ready": True}
    assert shared.ask("GET", "/audit/verify", headers=admin).json["whole"]
    assert Path(shared.folder / "channels" / "adt" / "channel.yaml").is_file()
