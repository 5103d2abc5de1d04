"""What operations, probes and the command line get from the admin server."""

import asyncio
import http.client
import json
import os
import pwd
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from engine.adapters import admin, admin_app
from engine.adapters.admin import AdminServer, AdminUnavailable
from engine.adapters.control_client import AskFailed, ControlClient, NotRunning
from engine.adapters.control_socket import connect
from engine.adapters.metrics import PrometheusMeter
from engine.model.ids import ChannelName, DestinationName, MessageSeq
from engine.ports.control import ActionReport, By, ChannelStatus, LaneStatus, Order, OrderRefused
from engine.ports.operations import Pause
from engine.ports.store import StoreBusy
from tests.runtime.parts import until


class StandIn:
    """A control that records what it was asked; `failure` is raised instead of an answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.readiness = (True, "")
        self.failure: Exception | None = None
        self.blocker: asyncio.Event | None = None
        self.by: list[By] = []

    async def _answer(self, *asked: Any) -> ActionReport:
        self.asked.append(asked)
        if self.blocker is not None:
            await self.blocker.wait()
        if self.failure is not None:
            raise self.failure
        return ActionReport(2, 3, ((MessageSeq(7), "it is rejected"),))

    async def status(self) -> list[ChannelStatus]:
        lane = LaneStatus(ChannelName("adt"), DestinationName("ris"), "idle", 1, 2, 3, 4, "")
        return [ChannelStatus(ChannelName("adt"), "127.0.0.1:2575", 1, 9, {"processed": 9}, (lane,))]

    async def ready(self) -> tuple[bool, str]:
        return self.readiness

    async def release(self, seqs: Any, by: By) -> ActionReport:
        self.by.append(by)
        return await self._answer("release", list(seqs))

    async def resend(self, seqs: Any, destinations: Any, by: By) -> ActionReport:
        self.by.append(by)
        return await self._answer("resend", list(seqs), destinations)

    async def reprocess(self, seqs: Any, by: By) -> ActionReport:
        self.by.append(by)
        return await self._answer("reprocess", list(seqs))

    async def discard(self, seqs: Any, reason: str, by: By) -> ActionReport:
        self.by.append(by)
        return await self._answer("discard", list(seqs), reason)

    async def operate(self, order: Order) -> ActionReport:
        self.by.append(order.by)
        return await self._answer("order", order)

    async def paused(self) -> list[Pause]:
        return [Pause(ChannelName("adt"), DestinationName("ris"), 1, "alice (uid 1000)", "RIS is moved")]


class Rig:
    """An admin server for a control whose loop runs on a thread, as the engine's would."""

    def __init__(self, folder: Path) -> None:
        self.control = StandIn()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.folder = folder
        self.meter = PrometheusMeter()
        self.server = AdminServer(self.meter, self.control, self.loop, socket_path=folder / "control.sock")
        self.server.start()
        self.client = ControlClient(folder)

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        assert self.server.address is not None
        connection = http.client.HTTPConnection(*self.server.address, timeout=10)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = connect(self.folder / "control.sock", 10)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def stop_engine(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()

    def close(self) -> None:
        self.server.stop()
        self.stop_engine()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@contextmanager
def loop_blocked(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    release, blocked = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait(30)

    loop.call_soon_threadsafe(block)
    blocked.wait(10)
    try:
        yield
    finally:
        release.set()


def test_metrics_and_probes_answer_over_tcp(rig):
    rig.meter.channel("adt").received(100, 1.0)
    status, page = rig.http("GET", "/metrics")
    assert status == 200
    assert 'segmill_messages_received_total{channel="adt"} 1.0' in page
    assert rig.http("GET", "/livez") == (200, "alive\n")
    assert rig.http("GET", "/readyz") == (200, "ready\n")


def test_readyz_says_in_a_sentence_why_not(rig):
    rig.control.readiness = (False, "the disk is full: intake is paused")
    assert rig.http("GET", "/readyz") == (503, "the disk is full: intake is paused\n")
    assert rig.http("GET", "/livez")[0] == 200


def test_a_blocked_loop_is_not_ready_and_metrics_go_on(rig, monkeypatch):
    monkeypatch.setattr(admin_app, "READY_TIMEOUT_S", 0.05)
    with loop_blocked(rig.loop):
        status, why = rig.http("GET", "/readyz")
        assert (status, why) == (503, "the engine's loop did not answer within 0.05 s\n")
        assert rig.http("GET", "/metrics")[0] == 200
        assert rig.http("GET", "/livez")[0] == 200
        monkeypatch.setattr(admin_app, "STALLED_AFTER_S", 0.0)
        assert rig.http("GET", "/livez") == (503, "the engine's loop does not answer\n")


def test_control_is_not_reachable_over_tcp(rig):
    for method, path in [("GET", "/v1/status"), ("POST", "/v1/release"), ("POST", "/v1/discard")]:
        assert rig.http(method, path)[0] == 404


def test_the_control_socket_is_for_its_owner_only(rig):
    path = rig.folder / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rig.server.address is not None
    assert rig.server.address[0] == "127.0.0.1"


def test_status_tells_channels_and_lanes(rig):
    answer = rig.client.get("/v1/status")
    assert answer["schema"] == 1
    assert answer["ready"] is True
    assert answer["channels"][0]["channel"] == "adt"
    assert answer["channels"][0]["lanes"][0]["held"] == 2


def test_actions_reach_the_engine_and_report_what_they_moved(rig):
    report = rig.client.post("/v1/release", {"seqs": [5, 7]})
    assert report == {
        "schema": 1,
        "messages": 2,
        "deliveries": 3,
        "left": [{"seq": 7, "reason": "it is rejected"}],
        "more_left": 0,
        "done_before": False,
        "made": [],
    }
    rig.client.post("/v1/resend", {"seqs": [5], "destinations": ["ris"]})
    rig.client.post("/v1/resend", {"seqs": [5]})
    rig.client.post("/v1/reprocess", {"seqs": [5]})
    rig.client.post("/v1/discard", {"seqs": [5], "reason": "sent by mistake"})
    assert rig.control.asked == [
        ("release", [5, 7]),
        ("resend", [5], ["ris"]),
        ("resend", [5], None),
        ("reprocess", [5]),
        ("discard", [5], "sent by mistake"),
    ]


def test_who_asks_is_who_the_system_says_is_at_the_other_end(rig):
    """Whatever the request says of itself: SO_PEERCRED of the socket."""
    me = f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()})"
    rig.client.post("/v1/release", {"seqs": [5], "reason": "why", "scope": "5", "key": "k"})
    status, _ = rig.raw(
        "POST",
        "/v1/order",
        json.dumps({"action": "read", "messages": [1]}),
        **{"content-type": "application/json", "x-forwarded-for": "mallory", "x-actor": "mallory"},
    )
    assert status == 200
    assert rig.control.by == [By(me, "why", "5", "k"), By(me)]
    told = rig.raw(
        "POST",
        "/v1/order",
        json.dumps({"action": "read", "messages": [1], "actor": "mallory"}),
        **{"content-type": "application/json"},
    )
    assert told[0] == 400


def test_an_order_comes_as_it_was_planned(rig):
    rig.client.post(
        "/v1/order",
        {
            "action": "redirect",
            "deliveries": {"queued": [3, [5, 7]], "held": [9]},
            "to": "ris",
            "key": "k",
        },
    )
    rig.client.post("/v1/order", {"action": "edit", "messages": [4], "raw": "TVNI", "lanes": [["adt", "ris"]]})
    rig.client.post("/v1/order", {"action": "reprocess", "messages": [[1, 3]], "as_of": "received"})
    first, second, third = (asked[1] for asked in rig.control.asked)
    assert (first.action, first.to) == ("redirect", "ris")
    assert first.deliveries == [(3, "queued"), (5, "queued"), (6, "queued"), (7, "queued"), (9, "held")]
    assert (second.messages, second.raw, second.lanes) == ([4], b"MSH", [("adt", "ris")])
    assert (third.messages, third.as_of) == ([1, 2, 3], "received")
    assert rig.client.get("/v1/paused")["paused"][0]["reason"] == "RIS is moved"


@pytest.mark.parametrize(
    "body",
    [
        {"action": "explode"},
        {"action": "hold", "deliveries": {"sent": [1]}},
        {"action": "hold", "deliveries": {"queued": [[5, 3]]}},
        {"action": "hold", "deliveries": {"queued": [[1, 2, 3]]}},
        {"action": "hold", "deliveries": {"queued": [0]}},
        {"action": "edit", "raw": "no base64!"},
        {"action": "pause", "lanes": [["adt"]]},
        {"action": "reprocess", "as_of": "lately"},
        {"action": "hold", "key": "k" * 65},
    ],
)
def test_an_order_that_is_not_understood_does_nothing(rig, body):
    status, answer = rig.raw("POST", "/v1/order", json.dumps(body), **{"content-type": "application/json"})
    assert (status, bool(answer["error"])) == (400, True)
    assert rig.control.asked == []


def test_more_members_than_anybody_plans_are_refused_before_they_are_counted_out(rig):
    body = json.dumps({"action": "hold", "deliveries": {"queued": [[1, 10**12]]}})
    assert rig.raw("POST", "/v1/order", body, **{"content-type": "application/json"})[0] == 413


@pytest.mark.parametrize(("is_temporary", "status"), [(True, 409), (False, 422)])
def test_an_order_that_is_refused_says_why_and_whether_to_try_again(rig, is_temporary, status):
    rig.control.failure = OrderRefused("2 of 3 have changed", is_temporary=is_temporary)
    body = json.dumps({"action": "hold", "deliveries": {"queued": [1]}})
    found, answer = rig.raw("POST", "/v1/order", body, **{"content-type": "application/json"})
    assert (found, answer["error"]) == (status, "2 of 3 have changed")
    with pytest.raises(AskFailed) as failed:
        rig.client.post("/v1/order", {"action": "hold"})
    assert failed.value.is_temporary is is_temporary


def test_an_order_that_takes_long_is_asked_for_again_under_its_key(rig, monkeypatch):
    monkeypatch.setattr(admin_app, "ACTION_TIMEOUT_S", 0.05)
    rig.control.blocker = asyncio.Event()
    body = {"action": "hold", "deliveries": {"queued": [1]}}
    assert rig.client.post("/v1/order", {**body, "key": "k"}) == {"schema": 1, "running": True}
    with pytest.raises(AskFailed, match="may still do") as failed:
        rig.client.post("/v1/order", body)
    assert failed.value.is_temporary
    rig.loop.call_soon_threadsafe(rig.control.blocker.set)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/release", {}),
        ("/v1/release", {"seqs": []}),
        ("/v1/release", {"seqs": [0]}),
        ("/v1/release", {"seqs": ["1"]}),
        ("/v1/release", {"seqs": [1], "all": True}),
        ("/v1/release", {"seqs": [1] * 10_001}),
        ("/v1/release", [1]),
        ("/v1/resend", {"seqs": [1], "destinations": []}),
        ("/v1/discard", {"seqs": [1]}),
        ("/v1/discard", {"seqs": [1], "reason": ""}),
    ],
)
def test_a_request_that_is_not_understood_does_nothing(rig, path, body):
    status, answer = rig.raw("POST", path, json.dumps(body), **{"content-type": "application/json"})
    assert status == 400
    assert answer["error"]
    assert rig.control.asked == []


def test_bodies_are_json_and_bounded(rig):
    json_type = {"content-type": "application/json"}
    assert rig.raw("POST", "/v1/release", "{", **json_type)[0] == 400
    assert rig.raw("POST", "/v1/release", "[" * 100_000, **json_type)[0] == 400
    assert rig.raw("POST", "/v1/release", b"\xff", **json_type)[0] == 400
    assert rig.raw("POST", "/v1/release", '{"seqs": [1]}')[0] == 415
    assert rig.raw("POST", "/v1/release", "seqs=1", **{"content-type": "text/plain"})[0] == 415
    assert rig.raw("POST", "/v1/release", " " * (1 << 20) + '{"seqs":[1]}', **json_type)[0] == 413
    assert rig.raw("GET", "/v1/release")[0] == 405
    assert rig.raw("GET", "/v2/nothing")[0] == 404
    assert rig.control.asked == []


def test_what_was_sent_is_not_repeated_in_an_error(rig):
    status, answer = rig.raw(
        "POST", "/v1/discard", json.dumps({"seqs": ["DOE^JOHN"], "reason": "x"}), **{"content-type": "application/json"}
    )
    assert status == 400
    assert "DOE" not in json.dumps(answer)


def test_a_store_that_is_busy_is_a_reason_to_try_again(rig):
    rig.control.failure = StoreBusy("another process holds the store")
    with pytest.raises(AskFailed, match="another process holds the store") as failed:
        rig.client.post("/v1/release", {"seqs": [1]})
    assert failed.value.is_temporary


def test_a_defect_is_answered_recorded_and_stays_in_its_request(rig, caplog):
    rig.control.failure = RuntimeError("could not do Testperson^Anna")
    with pytest.raises(AskFailed, match="its log says why") as failed:
        rig.client.post("/v1/release", {"seqs": [1]})
    assert not failed.value.is_temporary
    assert "admin request /v1/release failed with RuntimeError" in caplog.text
    assert "Testperson" not in caplog.text
    assert rig.client.get("/v1/status")["ready"] is True


def test_an_action_that_takes_long_is_not_cancelled(rig, monkeypatch):
    monkeypatch.setattr(admin_app, "ACTION_TIMEOUT_S", 0.05)
    rig.control.blocker = asyncio.Event()
    with pytest.raises(AskFailed, match="may still do what was asked") as failed:
        rig.client.post("/v1/release", {"seqs": [1]})
    assert failed.value.is_temporary
    done = threading.Event()

    def finish() -> None:
        rig.control.blocker.set()
        rig.loop.call_later(0.01, done.set)

    rig.loop.call_soon_threadsafe(finish)
    assert done.wait(10)


def test_after_the_engine_ended_the_answer_says_so(rig):
    rig.stop_engine()
    with pytest.raises(AskFailed, match="the engine has stopped"):
        rig.client.post("/v1/release", {"seqs": [1]})
    assert rig.http("GET", "/livez")[0] == 503


def test_stopping_lets_go_of_the_port_and_the_socket(rig):
    address = rig.server.address
    rig.server.stop()
    rig.server.stop()
    assert not (rig.folder / "control.sock").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    with pytest.raises(NotRunning):
        rig.client.get("/v1/status")


def test_a_socket_left_by_a_killed_engine_is_taken_over(tmp_path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    left.close()
    with pytest.raises(NotRunning):
        ControlClient(tmp_path).get("/v1/status")
    rig = Rig(tmp_path)
    try:
        assert rig.client.get("/v1/status")["ready"] is True
    finally:
        rig.close()


def test_a_second_engine_in_the_same_folder_is_refused(rig):
    second = AdminServer(rig.meter, rig.control, rig.loop, port=None, socket_path=rig.folder / "control.sock")
    with pytest.raises(AdminUnavailable, match="another engine"):
        second.start()
    second.stop()
    assert rig.client.get("/v1/status")["ready"] is True


def test_a_port_that_is_taken_is_named_in_a_sentence(rig):
    assert rig.server.address is not None
    host, port = rig.server.address
    second = AdminServer(rig.meter, rig.control, rig.loop, host=host, port=port)
    with pytest.raises(AdminUnavailable, match=f"admin address {host}:{port}"):
        second.start()


def test_a_deep_data_folder_is_no_obstacle(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    assert len(os.fsencode(deep)) > 108
    rig = Rig(deep)
    try:
        assert rig.client.get("/v1/status")["ready"] is True
    finally:
        rig.close()
    assert not (deep / "control.sock").exists()


def test_a_page_asked_for_without_end_is_not_rendered_without_end():
    now = [0.0]

    class Slow:
        rendered = 0

        def render(self, accept_header: str = "") -> tuple[str, bytes]:
            self.rendered += 1
            now[0] += 0.1
            return "text/plain", b"%d" % self.rendered

    slow = Slow()
    page = admin_app.MetricsPage(slow, monotonic=lambda: now[0])
    for _ in range(1000):
        now[0] += 0.01
        page.get("")
    assert slow.rendered <= 12
    before = slow.rendered
    now[0] += 1.0
    page.get("")
    assert slow.rendered == before + 1


def test_stopping_on_the_loops_own_thread_does_not_hang(tmp_path):
    async def run() -> None:
        server = AdminServer(
            PrometheusMeter(), StandIn(), asyncio.get_running_loop(), socket_path=tmp_path / "control.sock"
        )
        server.start()
        answer = await asyncio.to_thread(ControlClient(tmp_path).get, "/v1/status")
        assert answer["ready"] is True
        server.stop()

    asyncio.run(run())


class TestSlowClients:
    """More than there are places, and none says what it wants (reliability.md E7)."""

    def test_a_client_that_asks_at_once_gets_in_beside_those_that_do_not(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(admin, "MAX_CONNECTIONS", 4)
        rig = Rig(tmp_path)
        slow = []
        try:
            for number in range(12):
                slow.append(socket.create_connection(rig.server.address, timeout=10))
                if number % 2:
                    slow[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
                assert rig.http("GET", "/livez")[0] == 200
            ended = 0
            for plain in slow:
                plain.settimeout(0.2)
                try:
                    ended += plain.recv(1) == b""
                except ConnectionResetError:
                    ended += 1
                except TimeoutError:
                    pass  # it still has its place
            assert ended >= len(slow) - 4
        finally:
            for plain in slow:
                plain.close()
            rig.close()

    async def test_one_comes_in_after_the_other_however_many_wait(self, monkeypatch) -> None:
        """Those beyond the places take no descriptor, not even for a turn of the loop: messages may need it."""
        monkeypatch.setattr(admin, "MAX_CONNECTIONS", 4)
        open_at_once = []

        class Counted(admin._NamedPeer):
            def connection_made(self, transport) -> None:
                super().connection_made(transport)
                open_at_once.append(len(os.listdir("/proc/self/fd")) - before)

        monkeypatch.setattr(admin, "_NamedPeer", Counted)
        listener = admin.listen_on("127.0.0.1", 0, "the address")
        server = admin.server_for(Starlette())
        clients = [socket.create_connection(listener.getsockname(), timeout=10) for _ in range(100)]
        before = len(os.listdir("/proc/self/fd"))
        serving = asyncio.get_running_loop().create_task(server.serve([listener]))
        await until(lambda: len(open_at_once) == 100)
        assert max(open_at_once) <= 4 + 2  # the one that comes, and the one that goes for it
        assert len(server.server_state.connections) == 4
        for plain in clients:
            plain.close()
        server.leave()
        await serving

    def test_the_head_of_a_request_has_its_time(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(admin, "HEAD_TIMEOUT_S", 0.05)
        rig = Rig(tmp_path)
        try:
            with socket.create_connection(rig.server.address, timeout=30) as plain:
                plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
                try:
                    assert plain.recv(1) == b""
                except ConnectionResetError:
                    pass
            assert rig.http("GET", "/livez")[0] == 200
        finally:
            rig.close()
