"""Engines with an API to ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.api.rig import Parts, Running, site


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An engine for the tests of one file."""
    started = Running(site(tmp_path_factory.mktemp("api") / "site"))
    yield started
    started.stop()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """An engine for one test."""
    started = Running(site(tmp_path / "site"))
    yield started
    started.stop()


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts()
    yield made
    made.close()
