"""Support bundles by the API and in the browser: one at a time, beside the engine, on record, kept for a while."""

import io
import threading
import zipfile
from collections.abc import Iterator

import pytest

from engine.adapters.api.support_jobs import KEPT_S, SupportJobs, UnderWay
from engine.model.access import SITE
from tests.adapters.api.rig import Running
from tests.adapters.console.visitor import Visitor

AT_US = 1_770_000_000_000_000


class Slow:
    """Makes one file, then waits until it is let go, then another."""

    def __init__(self) -> None:
        self.first, self.go = threading.Event(), threading.Event()

    def members(self) -> Iterator[tuple[str, str]]:
        yield "versions.txt", "segmill 1\n"
        self.first.set()
        assert self.go.wait(60)
        yield "doctor.json", "[]\n"


class Broken:
    def members(self) -> Iterator[tuple[str, str]]:
        yield "versions.txt", "segmill 1\n"
        raise ValueError("PID|1||900001")


def test_it_tells_how_far_it_is_and_is_made_once_at_a_time():
    maker = Slow()
    jobs = SupportJobs(maker)
    assert jobs.state(0.0).bundle is None and not jobs.state(0.0).is_running
    jobs.start("anna", AT_US, 10.0)
    assert maker.first.wait(60)
    with pytest.raises(UnderWay):
        jobs.start("ben", AT_US, 10.0)
    maker.go.set()
    jobs.wait(60)
    made = jobs.state(10.0)
    assert not made.is_running and made.names == ("versions.txt", "doctor.json") and not made.failed
    assert made.bundle is not None and (made.bundle.by, made.bundle.names) == ("anna", made.names)
    assert made.bundle.file_name == "segmill-support-20260202T024000Z.zip"
    with zipfile.ZipFile(io.BytesIO(made.bundle.content)) as found:
        assert found.read("segmill-support/doctor.json") == b"[]\n"


def test_files_are_told_while_they_are_made():
    maker = Slow()
    jobs = SupportJobs(maker)
    jobs.start("anna", AT_US, 0.0)
    assert maker.first.wait(60)
    # The first was told before the second was asked for.
    assert jobs.state(0.0).is_running and jobs.state(0.0).names == ("versions.txt",)
    maker.go.set()
    jobs.wait(60)


def test_it_is_kept_for_a_while_and_the_next_one_takes_its_place():
    maker = Slow()
    maker.go.set()
    jobs = SupportJobs(maker, clock=lambda: 0.0)
    jobs.start("anna", AT_US, 100.0)
    jobs.wait(60)
    assert jobs.state(100.0 + KEPT_S).bundle is not None
    assert jobs.state(100.0 + KEPT_S + 1).bundle is None
    jobs.start("ben", AT_US, 200.0)
    jobs.wait(60)
    found = jobs.state(200.0).bundle
    assert found is not None and found.by == "ben"


def test_what_goes_wrong_is_told_by_its_kind_and_nothing_of_it_and_another_can_be_made(caplog):
    jobs = SupportJobs(Broken())
    for _ in range(2):
        jobs.start("anna", AT_US, 0.0)
        jobs.wait(60)
        state = jobs.state(0.0)
        assert (state.is_running, state.failed, state.bundle) == (False, "ValueError", None)
    assert "900001" not in caplog.text and "ValueError" in caplog.text


class Ended:
    """A part of it that ends the command."""

    def members(self) -> Iterator[tuple[str, str]]:
        yield "versions.txt", "segmill 1\n"
        raise SystemExit(2)


def test_what_would_end_a_command_ends_the_making_alone(caplog):
    jobs = SupportJobs(Ended())
    for _ in range(2):
        jobs.start("anna", AT_US, 0.0)
        jobs.wait(60)
        state = jobs.state(0.0)
        assert (state.is_running, state.failed, state.bundle) == (False, "SystemExit", None)


def test_where_no_thread_can_be_had_the_next_who_asks_may_have_one(monkeypatch):
    jobs = SupportJobs(Broken())

    def none_left(self) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as few:
        few.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            jobs.start("anna", AT_US, 0.0)
    assert not jobs.state(0.0).is_running
    jobs.start("anna", AT_US, 0.0)
    jobs.wait(60)
    assert jobs.state(0.0).failed == "ValueError"


def test_one_that_takes_long_is_kept_from_its_end_on():
    times = iter((50.0, 50.0 + 2 * KEPT_S))
    maker = Slow()
    maker.go.set()
    jobs = SupportJobs(maker, clock=lambda: next(times))
    jobs.start("anna", AT_US, 0.0)
    jobs.wait(60)
    assert jobs.state(3 * KEPT_S).bundle is not None
    assert jobs.state(3 * KEPT_S + 1).bundle is None


def jobs_of(running: Running) -> SupportJobs:
    assert running.engine.console is not None and running.engine.console._server is not None
    return running.engine.console._server._api.support


def rows(running: Running, since: int) -> list[tuple[str, str]]:
    return [(row.action, row.ids) for row in running.queries.audit(since, 10_000)]


def test_an_admin_makes_and_takes_one_by_the_api(shared: Running):
    admin = shared.token("support", {SITE: "admin"})
    assert shared.ask("GET", "/support-bundle/file", headers=admin).status in (404, 200)
    since = shared.queries.audit_head().last
    assert shared.ask("POST", "/support-bundle", headers=admin).status == 200
    jobs_of(shared).wait(120)
    told = shared.ask("GET", "/support-bundle", headers=admin).json
    assert not told["is_running"] and not told["failed"] and told["by"] == "token support" and told["size"] > 0
    assert {"versions.txt", "doctor.json", "store.json", "site/segmill.yaml"} <= set(told["files"])
    taken = shared.ask("GET", "/support-bundle/file", headers=admin)
    assert taken.headers["content-type"] == "application/zip" and len(taken.raw) == told["size"]
    assert 'filename="segmill-support-' in taken.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(taken.raw)) as found:
        assert [name.removeprefix("segmill-support/") for name in found.namelist()] == told["files"]
        assert found.testzip() is None
    assert rows(shared, since) == [("support-bundle", "a support bundle"), ("export", "a support bundle")]


def test_the_page_says_how_far_it_is_and_gives_it(shared: Running, monkeypatch):
    admin = Visitor(shared, shared.user("head", {SITE: "admin"}))
    assert "/system/support" in admin.open("/system").text
    maker, jobs = Slow(), jobs_of(shared)
    monkeypatch.setattr(jobs, "_maker", maker)
    begun = admin.send(admin.open("/system/support"), "/system/support")
    assert maker.first.wait(60)
    page = admin.open("/system/support")
    assert "1 file so far, the last versions.txt" in page.words and "Download" not in page.words
    assert "It is being made" in begun.words
    again = admin.forged("/system/support")
    assert again.status == 409 and "E589" in again.text
    maker.go.set()
    jobs.wait(60)
    done = admin.open("/system/support")
    assert "2 files in it" in done.words and "by head" in done.words
    viewer = Visitor(shared, shared.user("looker", {SITE: "analyst"}))
    assert "/system/support" not in viewer.open("/system").text
    assert viewer.open("/system/support").status == viewer.forged("/system/support/file").status == 403


def test_an_engine_that_cannot_make_one_says_so(shared: Running, monkeypatch):
    monkeypatch.setattr(jobs_of(shared), "_maker", None)
    refused = shared.ask("POST", "/support-bundle", headers=shared.token("support2", {SITE: "admin"}))
    assert (refused.status, refused.code) == (409, "E590")
    admin = Visitor(shared, shared.user("head2", {SITE: "admin"}))
    assert "segmill support-bundle" in admin.open("/system/support").words
