"""An engine with 10,000 messages for the console's tests, made once a run, and a browser for each file of them.

`tests/schedule.py` gives all files `test_console_*` to one worker.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.e2e.console_rig import Browse, Console

REPOSITORY = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for the engine waits for its 10,000 messages, however busy the machine is."""
    for item in items:
        if "console" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where it is; skips where it is not, or where nothing could drive it."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium on this machine")
    return found


@pytest.fixture(scope="session")
def console(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Console"]:
    """The engine, in a process of its own."""
    from tests.e2e.console_rig import Console

    folder = tmp_path_factory.mktemp("console") / "site"
    log = folder.with_name("engine.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.console_engine", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            log.seek(0)
            pytest.fail(f"the engine did not start: {log.read()[-4000:]}")
        told = json.loads(line)
        addresses = {name: (host, port) for name, (host, port) in told["addresses"].items()}
        yield Console(told["url"], folder, told["sessions"], addresses)
        process.stdin.close()
        assert process.wait(60) == 0
        log.seek(0)
        assert "Traceback" not in log.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        log.close()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["Browser"]:
    """For the tests of one file: a browser that stays open is in the way of tests with a loop of their own."""
    from playwright.sync_api import sync_playwright

    from tests.e2e.console_rig import CHROMIUM

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM), timeout=120_000)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def whole_pages(chromium: str) -> Iterator[None]:
    """What is read of a page waits for all of it.

    A click waits until the page that it leads to begins. What counts or reads at once would find a part of it, or
    nothing, where the machine is busy: the beginning of a list, or words whose colours are not here yet.
    """
    from playwright.sync_api import Locator, Page

    def waiting(read: Callable[..., Any], *, for_it: bool) -> Callable[..., Any]:
        @wraps(read)
        def whole(of: Locator | Page, *values: Any, **more: Any) -> Any:
            if isinstance(of, Page):
                of.wait_for_load_state("load")
            else:
                if for_it:
                    of.wait_for(state="attached")
                of.page.wait_for_load_state("load")
            return read(of, *values, **more)

        return whole

    with pytest.MonkeyPatch.context() as patch:
        for name in ("all", "all_inner_texts", "all_text_contents", "count", "is_enabled", "is_visible"):
            patch.setattr(Locator, name, waiting(getattr(Locator, name), for_it=False))
        # These wait for their element by themselves, and take what is there of it.
        for name in ("evaluate", "get_attribute", "inner_text", "input_value", "is_checked", "text_content"):
            patch.setattr(Locator, name, waiting(getattr(Locator, name), for_it=True))
        for name in ("content", "evaluate", "title"):
            patch.setattr(Page, name, waiting(getattr(Page, name), for_it=False))
        yield


@pytest.fixture
def browse(browser: "Browser", console: "Console", whole_pages: None) -> Iterator["Browse"]:
    """`browse("operator", "/messages")`; at the end nothing may have gone wrong on any page."""
    from tests.e2e.console_rig import Browse

    made = Browse(browser, console)
    yield made
    made.close()
    assert made.wrong == []
