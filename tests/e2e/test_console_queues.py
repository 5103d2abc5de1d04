"""Queues, held, tables and worklist in a browser: each action by a click, then seen in the store and in the audit."""

from typing import TYPE_CHECKING

import pytest

from tests.e2e.console_rig import check_looks

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse

pytestmark = pytest.mark.xdist_group("console")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("queues", "/queues"),
        ("queue", "/queues/orders/ris"),
        ("queue-held", "/queues/results/portal?show=held"),
        ("held", "/held"),
        ("tables", "/tables"),
        ("table", "/tables/results?table=tables/codes.csv"),
        ("worklist", "/worklist?status=all"),
        ("worklist-ask", "/worklist/main/ask"),
        ("take-up", "/take-up/results"),
    ],
)
def test_looks(browse: "Browse", name: str, path: str):
    check_looks(browse, name, path)
