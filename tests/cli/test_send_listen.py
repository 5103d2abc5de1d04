"""`segmill send` and `segmill listen`: both ends of MLLP, from a shell."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from engine.adapters import sender as sender_module
from engine.adapters.mllp_connection import MllpConnection, Target, connect
from engine.testing import messages
from engine.testing.peers import Behaviour, ReceivingPeer
from tests.forked import shared
from tests.ports import closed_port


class Peer:
    """A receiving peer on a thread of its own."""

    def __init__(
        self,
        *answers: str,
        tls: ssl.SSLContext | None = None,
        on_message: Callable[[bytes, Behaviour], None] | None = None,
    ) -> None:
        self._answers = answers
        self._tls = tls
        self._on_message = on_message
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with ReceivingPeer(*self._answers, tls=self._tls, on_message=self._on_message) as self.peer:
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> "Peer":
        self._thread.start()
        self._ready.wait(20)
        self.to = f"127.0.0.1:{self.peer.address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    @property
    def received(self) -> list[bytes]:
        return self.peer.received


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.hl7").write_bytes(messages.adt(control_id="A1"))
    (folder / "b.hl7").write_bytes(
        (messages.adt(control_id="B1") + messages.adt(control_id="B2")).replace(b"\r", b"\n")
    )
    return folder


# -- send -----------------------------------------------------------------------------------------


def test_messages_of_files_are_sent_one_by_one_with_their_answers(segmill, files):
    with Peer("AA") as peer:
        said = segmill("send", files, "--to", peer.to)
        assert said.code == 0
        assert [payload.split(b"|")[9] for payload in peer.received] == [b"A1", b"B1", b"B2"]
        assert all(payload.endswith(b"\r") and b"\n" not in payload for payload in peer.received)
    assert "a.hl7" in said.out
    assert "b.hl7 message 2" in said.out
    assert "3 messages sent" in said.out
    assert "3 AA" in said.out


def test_what_is_refused_is_listed_with_its_code_and_ends_with_1(segmill, files):
    with Peer("AA", "AE") as peer:
        said = segmill("send", files, "--to", peer.to, "--json")
    assert said.code == 1
    assert said.json["codes"] == {"AA": 1, "AE": 2}
    assert (said.json["accepted"], said.json["sent"]) == (1, 3)
    assert [one["control_id"] for one in said.json["not_accepted"]] == ["B1", "B2"]
    assert said.json["not_accepted"][0]["reason"].startswith("207")


def test_nobody_there_is_unreachable(segmill, files):
    with closed_port() as port:
        said = segmill("send", files / "a.hl7", "--to", f"127.0.0.1:{port}")
    assert said.code == 69
    assert "refuses connections" in said.out


def test_an_answer_that_does_not_come_or_is_not_ours_is_a_failure(segmill, files):
    with Peer("wrong-id", "none") as peer:
        said = segmill("send", files / "b.hl7", "--to", peer.to, "--timeout", "200ms", "--json")
    assert said.code == 69
    assert said.json["codes"] == {}
    assert sum(said.json["failures"].values()) == 2


def test_a_load_run_counts_and_measures(segmill, files):
    with Peer("AA") as peer:
        said = segmill(
            "send", files, "--to", peer.to, "--count", 50, "--connections", 4, "--set", "MSH-10=L{n}", "--json"
        )
        assert sorted(payload.split(b"|")[9] for payload in peer.received) == sorted(b"L%d" % n for n in range(1, 51))
        assert peer.peer.connections_seen == 4
    assert said.code == 0
    assert said.json["sent"] == 50
    assert 0 < said.json["latency_s"]["p50"] <= said.json["latency_s"]["p99"] <= said.json["latency_s"]["max"]


def test_sending_the_same_ids_again_is_pointed_out(segmill, files):
    with Peer("AA") as peer:
        assert "MSH-10=T{n}" in segmill("send", files / "a.hl7", "--to", peer.to, "--count", 2).err
        assert segmill("send", files / "a.hl7", "--to", peer.to, "--count", 2, "--set", "MSH-10={uuid}").err == ""
        assert len({payload.split(b"|")[9] for payload in peer.received}) == 3


def test_the_rate_is_kept(segmill, files):
    with Peer("AA") as peer:
        said = segmill("send", files / "a.hl7", "--to", peer.to, "--count", 6, "--rate", "50/s", "--json")
    assert said.json["elapsed_s"] >= 0.099


def test_raw_sends_the_bytes_as_they_are(segmill, tmp_path):
    path = tmp_path / "odd.hl7"
    odd = b"\n\nMSH|^~\\&|A|B|||20260102||ADT^A01|X1|P|2.5.1\nPID|||1\n"
    path.write_bytes(odd)
    with Peer("AA") as peer:
        assert segmill("send", path, "--to", peer.to, "--raw").code == 0
        assert peer.received == [odd]


def test_a_sender_that_resends_ends_with_every_message_answered(segmill, files, monkeypatch):
    opened: list[tuple[asyncio.AbstractEventLoop, MllpConnection]] = []

    async def remembered(to: Target) -> MllpConnection:
        connection = await connect(to)
        opened.append((asyncio.get_running_loop(), connection))
        return connection

    def time_is_over(_: bytes, behaviour: Behaviour) -> None:
        if behaviour.kind == "none":
            loop, connection = opened[-1]
            loop.call_soon_threadsafe(connection._arm, 0.0)

    monkeypatch.setattr(sender_module, "connect", remembered)
    with Peer("close", "none", "AA", on_message=time_is_over) as peer:
        said = segmill("send", files, "--to", peer.to, "--timeout", "60s", "--resend-after", "10ms", "--json")
    assert said.code == 0
    assert said.json["codes"] == {"AA": 3}
    assert said.json["resent"] == 2


def test_standard_input_can_be_sent(segmill, monkeypatch):
    class Stdin:
        class buffer:
            read = staticmethod(messages.adt)

    monkeypatch.setattr(sys, "stdin", Stdin)
    with Peer("AA") as peer:
        assert segmill("send", "-", "--to", peer.to).code == 0
        assert peer.received == [messages.adt()]


def test_tls_checks_the_receiver_and_shows_our_certificate(segmill, files, tmp_path):
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    ca.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Peer("AA", tls=context) as peer:
        words = ["send", files / "a.hl7", "--to", peer.to, "--timeout", "5s"]
        assert segmill(*words, "--tls-ca", tmp_path / "ca.pem", "--tls-cert", tmp_path / "client.pem").code == 0
        said = segmill(*words, "--tls-ca", tmp_path / "other.pem", "--tls-cert", tmp_path / "client.pem")
        assert said.code == 69
        assert "certificate" in said.out
        assert segmill(*words, "--tls-ca", tmp_path / "missing.pem").code == 2


WIDE = "MSH|^~\\&|Hł|N|||2026||ADT^A01|1|P|2.5\r".encode("utf-16")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "nowhere"], "HOST:PORT"),
        (["--to", "h:70000"], "HOST:PORT"),
        (["--to", "h:1", "--rate", "fast"], "50/s"),
        (["--to", "h:1", "--timeout", "30"], "30s"),
        (["--to", "h:1", "--set", "MSH-10"], "PATH=TEXT"),
        (["--to", "h:1", "--set", "MSH-=x"], "^"),
        (["--to", "h:1", "--count", "0"], "--count"),
    ],
)
def test_a_wrong_option_is_answered_with_a_right_one(segmill, files, words, told):
    said = segmill("send", files, *words)
    assert said.code == 2
    assert told in said.err


def test_a_file_without_a_message_is_named_before_anything_is_sent(segmill, files):
    (files / "z.hl7").write_text("nothing")
    with Peer("AA") as peer:
        said = segmill("send", files, "--to", peer.to)
        assert peer.received == []
    assert said.code == 2
    assert "z.hl7: there is no MSH segment; --raw sends the file as it is" in said.err


@pytest.mark.parametrize(
    ("content", "told", "hows"),
    [
        (messages.adt().replace(b"Anna", b"A\x1cna"), "start-of-block or end-of-block", ((), ("--raw",))),
        (WIDE, "UTF-16", (("--raw",),)),
    ],
)
def test_what_cannot_go_over_mllp_is_told_before_anything_is_sent(segmill, tmp_path, content, told, hows):
    (tmp_path / "m.hl7").write_bytes(content)
    for how in hows:
        said = segmill("send", tmp_path / "m.hl7", "--to", "127.0.0.1:1", *how)
        assert said.code == 2
        assert told in said.err
        assert "--raw sends" not in said.err


def test_a_file_in_utf_16_goes_as_utf_8_and_that_is_said(segmill, tmp_path):
    (tmp_path / "m.hl7").write_bytes(WIDE)
    with Peer("AA") as peer:
        said = segmill("send", tmp_path / "m.hl7", "--to", peer.to)
        assert peer.received == ["MSH|^~\\&|Hł|N|||2026||ADT^A01|1|P|2.5\r".encode()]
    assert said.code == 0
    assert "m.hl7 is in UTF-16 or UTF-32" in said.err and "taken as UTF-8" in said.err


# -- listen ---------------------------------------------------------------------------------------


class Listening:
    """`segmill listen` in a process of its own, since it answers until it is stopped."""

    def __init__(self, *words: object) -> None:
        repository = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [*shared().python, "-m", "engine", "listen", "--port", "0", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(repository)},
        )
        said = self.process.stderr.readline()
        assert said.startswith("listening on "), said + self.process.stderr.read()
        self.to = said.split()[2].rstrip(",")

    def __enter__(self) -> "Listening":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, number: signal.Signals | None = None, within_s: float = 30) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=within_s)
        return self.process.returncode, out, err


class Sending:
    """`segmill send --resend-after` in a process of its own: it knocks for ever where nobody listens any more."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [*shared().python, "-m", "engine", "send", *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def __enter__(self) -> "Sending":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def test_listen_answers_as_told_and_ends_after_count(segmill, files, tmp_path):
    out = tmp_path / "received"
    with Listening("--ack", "AE", "--ack", "AA", "--count", 3, "--out", out, "--json") as listening:
        said = segmill("send", files, "--to", listening.to, "--json")
        code, printed, talked = listening.end()
    assert said.json["codes"] == {"AE": 1, "AA": 2}
    assert code == 0
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [(row["control_id"], row["type"], row["answered"]) for row in rows] == [
        ("A1", "ADT^A01", "AE"),
        ("B1", "ADT^A01", "AA"),
        ("B2", "ADT^A01", "AA"),
    ]
    assert [path.name for path in sorted(out.iterdir())] == ["000001.hl7", "000002.hl7", "000003.hl7"]
    assert (out / "000001.hl7").read_bytes() == messages.adt(control_id="A1")
    assert "3 messages on 1 connection" in talked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_listen_ends_well_when_it_is_stopped(segmill, files, number):
    with Listening() as listening:
        assert segmill("send", files / "a.hl7", "--to", listening.to).code == 0
        code, printed, talked = listening.end(number)
    assert code == 0
    assert "ADT^A01" in printed
    assert "Testperson" not in printed + talked
    assert "Traceback" not in talked


def test_listen_keeps_what_an_earlier_run_received(segmill, files, tmp_path):
    out = tmp_path / "received"
    out.mkdir()
    (out / "000001.hl7").write_text("old")
    with Listening("--count", 1, "--out", out) as listening:
        segmill("send", files / "a.hl7", "--to", listening.to)
        listening.end()
    assert (out / "000001.hl7").read_text() == "old"
    assert (out / "000002.hl7").is_file()


def test_listen_lists_its_ways_to_answer(segmill):
    said = segmill("listen", "--port", "0", "--ack", "help")
    assert said.code == 0
    assert "late" in said.out
    assert "close" in said.out


def test_listen_on_a_port_that_is_taken_says_so(segmill):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = segmill("listen", "--port", port)
    assert said.code == 69
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use\n" in said.err


def test_listen_refuses_a_way_it_does_not_know(segmill):
    said = segmill("listen", "--port", "0", "--ack", "maybe")
    assert said.code == 2
    assert "known:" in said.err


# -- torture --------------------------------------------------------------------------------------


def test_the_torture_of_a_receiver_tells_each_row_and_ends_with_1_where_one_came_to_harm(segmill):
    with Peer("AA") as peer:
        words = ["send", "--torture", "--to", peer.to, "--timeout", "2s"]
        good = segmill(*words, "--only", "one-block", "--only", "cr-left-out")
        assert good.code == 0
        assert [line.split()[:2] for line in good.out.splitlines()[:2]] == [
            ["one-block", "standard"],
            ["cr-left-out", "standard"],
        ]
        bad = segmill(*words, "--only", "two-in-a-block", "--json")
        assert bad.code == 1
        assert bad.json["verdicts"] == {"merged": 1}
        (row,) = bad.json["rows"]
        assert (row["row"], row["items"], row["verdict"]) == ("two-in-a-block", [67, 37], "merged")
        assert [answer["code"] for answer in row["answers"]] == ["AA"]
        assert [due["code"] for due in row["expected"]] == ["AA", "AA"]
        told = segmill(*words, "--only", "two-in-a-block").out
        assert "merged" in told
        assert "expected AA, AA" in told
        assert "two messages were taken for one" in told


def test_a_run_has_control_ids_of_its_own(segmill):
    with Peer("AA") as peer:
        for _ in range(2):
            assert segmill("send", "--torture", "--to", peer.to, "--only", "one-block").code == 0
        first, second = (body.split(b"|")[9] for body in peer.received)
        assert first != second
        assert len(first) == len(second) <= 20


def test_the_rows_are_listed_without_a_receiver(segmill):
    said = segmill("send", "--torture", "--only", "help")
    assert said.code == 0
    assert "cr-left-out" in said.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "one-block", "--to", "h:1"], "--only is for --torture"),
        (["--torture", "--to", "h:1", "--only", "nothing"], "--only help"),
        (["--torture"], "--to HOST:PORT"),
        (["--torture", "--to", "h:1", "a.hl7"], "no FILE"),
        (["--to", "h:1"], "FILE"),
    ],
)
def test_a_wrong_word_about_torture_is_answered_with_a_right_one(segmill, words, told):
    said = segmill("send", *words)
    assert said.code == 2
    assert told in said.err


def test_the_torture_of_nobody_says_so(segmill):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = segmill("send", "--torture", "--to", f"127.0.0.1:{port}", "--only", "one-block")
    assert said.code == 69
    assert f"no connection to 127.0.0.1:{port}" in said.err


def test_the_torture_of_a_sender_tells_what_it_did_after_each_answer(files):
    with Listening("--torture", "--json") as listening, Sending(
        files / "a.hl7", "--to", listening.to, "--count", 60, "--set", "MSH-10=T{n}",
        "--timeout", "3s", "--resend-after", "10ms",
    ):  # fmt: skip
        code, printed, _ = listening.end(within_s=100)
    rows = {row["row"]: row for row in map(json.loads, printed.splitlines())}
    assert code == 0
    assert (rows["garbage"]["did"], rows["garbage"]["verdict"]) == ("sends again", "standard")
    assert (rows["AA"]["did"], rows["AA"]["verdict"]) == ("goes on", "standard")
    assert {row["verdict"] for row in rows.values()} <= {"standard", "tolerated"}


def test_a_sender_that_loses_messages_is_found(segmill, files):
    with Listening("--torture") as listening:
        # Without --resend-after what got no answer is counted and not sent again.
        segmill("send", files / "a.hl7", "--to", listening.to, "--count", 60, "--set", "MSH-10=T{n}",
                "--timeout", "300ms")  # fmt: skip
        code, printed, talked = listening.end()
    assert code == 1
    assert "it goes on; expected: sends again" in printed
    assert "lost" in printed
    assert "Traceback" not in talked


def test_listening_under_torture_goes_its_own_way(segmill):
    said = segmill("listen", "--port", "0", "--torture", "--ack", "AE")
    assert said.code == 2
    assert "without --ack" in said.err
