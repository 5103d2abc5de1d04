"""Files and HTTP beside what else a channel may ask for: each goes together, or the linter says why it cannot.

In every test here a payload's reply that is settled before its fate is told fails the test.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from engine.app import load_site
from engine.config.listen import ListenOptions
from engine.hl7.message import Message
from engine.model.ids import MessageSeq
from engine.model.outcome import Delivered, Refused
from engine.ports.store import StoreFull
from engine.runtime import batch
from engine.runtime.inlet import InletReply, RoomyInlet
from engine.runtime.intake import Receiver
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, err, isolate, msa
from tests.runtime.parts import until
from tests.runtime.test_answers import ack
from tests.runtime.test_fragments import cut, enhanced

JOIN = "fragments: {dsc: join}"
STRICT = "charset: {strict: true}"
NUMBERED = "sequence: on"
WAITS = "ack: {when: delivered(out), timeout: 20s}"
BACK = "ack: {app_ack: connect-back, connect_back: {host: 127.0.0.1, port: 1}}"
FOLDER = "{file: {folder: in, every: 50ms, stable: 0}}"
PORT = "{http: {port: 0, path: /adt}}"


@pytest.fixture(autouse=True)
def told_first(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    untold: list[str] = []
    settle = InletReply.settle

    def watched(self: InletReply, answer: bytes) -> None:
        if not self.done.done() and not self.told.fate:
            untold.append(repr(answer[:20]))
        settle(self, answer)

    monkeypatch.setattr(InletReply, "settle", watched)
    yield
    assert untold == []


def site_of(tmp_path: Path, listen: str, more: str = "", **options: str) -> SiteUnderTest:
    text = channel(more=more, **options).replace("listen: {mllp: {port: 0}}", f"listen: {listen}")
    return SiteUnderTest(tmp_path / "site", {"adt": text}, MEMORY)


async def post(site: SiteUnderTest, content: bytes) -> httpx2.Response:
    address = site.engine.control.listening["adt"].address
    async with httpx2.AsyncClient(timeout=10) as client:
        return await client.post(
            f"http://{address}/adt", content=content, headers={"Content-Type": "application/hl7-v2"}
        )


async def said(site: SiteUnderTest, content: bytes) -> tuple[int, list[str]]:
    """Status, and MSA-1 of every acknowledgment in the response."""
    answer = await post(site, content)
    lines = [line for line in answer.content.split(b"\r") if line.startswith(b"MSA")]
    return answer.status_code, [line.decode().split("|")[1] for line in lines]


def put(site: SiteUnderTest, name: str, content: bytes) -> None:
    inbox = site.folder / "in"
    inbox.mkdir(exist_ok=True)
    (inbox / f"{name}.tmp").write_bytes(content)
    (inbox / f"{name}.tmp").rename(inbox / name)


async def put_away(site: SiteUnderTest, name: str, where: str) -> None:
    folder = site.folder / "in"
    await until(lambda: any((folder / place / name).exists() for place in ("done", "failed")))
    assert (folder / where / name).exists()


def failure(site: SiteUnderTest, name: str) -> str:
    return (site.folder / "in" / "failed" / f"{name}.findings.txt").read_text()


def numbered(raw: bytes, number: object) -> bytes:
    message = Message.parse(raw)
    message.set("MSH-13", str(number))
    return message.to_bytes()


def foreign(control_id: str = "C1", charset: str = "UNICODE UTF-8") -> bytes:
    """A message whose bytes are not what MSH-18 says."""
    head = f"MSH|^~\\&|HIS|NORTH|SEGMILL|NORTH|2026||ADT^A01^ADT_A01|{control_id}|P|2.5.1||||||{charset}\r"
    return head.encode() + b"PID|1||4711||M\xfcller\r"


class TestWhenDelivered:
    async def test_the_response_is_what_the_destination_says(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, WAITS)
        sink = site.kept.sinks["adt/out"]
        sink.gate.clear()
        async with site.running():
            coming = asyncio.gather(said(site, adt(control_id="C1")))
            await until(lambda: sink.calls)
            assert not coming.done()
            sink.script = [Delivered(ack("C1", "AA"))]
            sink.gate.set()
            assert await coming == [(200, ["AA"])]
            assert await said(site, adt(control_id="C1")) == (200, ["AA"])
        assert site.states() == ["processed"]

    async def test_its_no_is_the_status_though_the_message_is_ours(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, WAITS)
        site.kept.sinks["adt/out"].script = [Refused("AE", "101", ack("C1", "AE", "101"))]
        async with site.running():
            assert await said(site, adt(control_id="C1")) == (500, ["AE"])
            assert await said(site, adt(control_id="C1")) == (500, ["AE"])
        assert (site.states(), site.delivery_states()) == (["processed"], ["held"])

    async def test_with_two_acknowledgments_the_no_is_the_status(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, WAITS)
        site.kept.sinks["adt/out"].script = [Refused("AE", "101", ack("C1", "AE", "101"))]
        raw = adt(control_id="C1", accept_ack="AL", application_ack="AL")
        async with site.running():
            assert await said(site, raw) == (500, ["CA", "AE"])

    async def test_of_a_batch_one_no_is_the_status(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, WAITS)
        site.kept.sinks["adt/out"].script = [Refused("AR", "204", ack("C1", "AR"))]
        two = b"BHS|^~\\&|A\r" + adt(control_id="C1") + adt(control_id="C2") + b"BTS|2\r"
        async with site.running():
            assert await said(site, two) == (400, ["AR", "AA"])

    async def test_it_is_told_of_the_time_out_and_a_resend_gets_the_answer(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, WAITS)
        sink = site.kept.sinks["adt/out"]
        sink.gate.clear()
        async with site.running():
            coming = asyncio.gather(said(site, adt(control_id="C1")))
            await until(lambda: sink.calls)
            site.clock.ahead_s += 30
            assert await coming == [(500, ["AE"])]
            again = asyncio.gather(said(site, adt(control_id="C1")))
            await until(lambda: len(site.running_channel().delivered))
            sink.gate.set()
            assert await again == [(200, ["AA"])]


class TestConnectBack:
    async def test_http_gets_the_accept_level_and_the_rest_goes_elsewhere(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, BACK)
        raw = adt(control_id="C1", accept_ack="AL", application_ack="AL")
        async with site.running():
            assert await said(site, raw) == (200, ["CA"])
            assert self.destinations(site) == ["out", "app_ack"]
            assert await said(site, raw) == (200, ["CA"])
        assert site.states() == ["processed"]

    async def test_http_has_no_content_where_only_the_application_level_is_wanted(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, BACK)
        async with site.running():
            assert await said(site, adt(control_id="C1", accept_ack="NE", application_ack="AL")) == (204, [])
            assert self.destinations(site) == ["out", "app_ack"]

    async def test_a_file_is_put_away_and_its_acknowledgments_go_back(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, FOLDER, BACK)
        async with site.running():
            put(site, "a.hl7", adt(control_id="C1", accept_ack="AL", application_ack="AL"))
            await put_away(site, "a.hl7", "done")
            assert self.destinations(site) == ["out", "app_ack"]

    def destinations(self, site: SiteUnderTest) -> list[str]:
        return [str(row.destination) for row in site.store.queries().deliveries(MessageSeq(1))]


class TestSequence:
    async def test_http_is_answered_by_the_numbers(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, NUMBERED)
        async with site.running():
            assert await said(site, numbered(adt(control_id="C1"), 7)) == (200, ["AA"])
            assert await said(site, numbered(adt(control_id="C2"), 8)) == (200, ["AA"])
            assert await said(site, numbered(adt(control_id="C2"), 8)) == (200, ["AA"])
            assert await said(site, numbered(adt(control_id="C3"), 8)) == (500, ["AE"])  # another with this number
            assert await said(site, numbered(adt(control_id="C4"), 10)) == (500, ["AE"])
            assert await said(site, numbered(adt(control_id="C5"), 0)) == (200, ["AA"])
            assert len(await site.delivered("adt/out", 2)) == 2
        assert site.states() == ["processed", "processed", "rejected", "rejected", "filtered"]

    async def test_those_behind_one_that_is_on_its_way_have_their_turn(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, NUMBERED)
        async with site.running():
            inlet = inlet_of(site)
            first = inlet.take(numbered(adt(control_id="C1"), 1), "x")
            second = inlet.take(numbered(adt(control_id="C2"), 2), "x")
            assert [(await one).fate for one in (first, second)] == ["kept", "kept"]

    async def test_a_number_that_cannot_be_stored_comes_again(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, NUMBERED)
        async with site.running():
            site.store.fail_next(StoreFull("full"))
            assert await said(site, numbered(adt(control_id="C1"), 1)) == (503, ["AR"])
            assert await said(site, numbered(adt(control_id="C1"), 1)) == (200, ["AA"])


class TestFragments:
    async def test_http_has_each_fragment_accepted_and_the_message_with_the_last(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, JOIN)
        raw = enhanced(adt)
        async with site.running():
            first, second = cut(raw, 2)
            assert await said(site, first) == (200, ["CA"])
            assert await said(site, first) == (200, ["CA"])
            assert await said(site, second) == (200, ["CA", "AA"])
            assert await said(site, second) == (200, ["CA", "AA"])
            assert await site.delivered("adt/out", 1) == [raw]
        assert site.states() == ["joined", "joined", "processed"]

    async def test_http_is_told_of_a_fragment_without_a_place(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, JOIN)
        async with site.running():
            status, codes = await said(site, cut(enhanced(adt), 2)[1])
            assert (status, codes) == (500, ["CE"])
        assert site.states() == ["rejected"]

    async def test_http_brings_a_fragment_again_that_could_not_be_stored(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, JOIN)
        first, second = cut(enhanced(adt), 2)
        async with site.running():
            site.store.fail_next(StoreFull("full"))
            assert (await post(site, first)).status_code == 503
            assert await said(site, first) == (200, ["CA"])
            assert await said(site, second) == (200, ["CA", "AA"])

    async def test_a_file_of_fragments_is_done_when_the_message_is_stored(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, FOLDER, JOIN)
        raw = enhanced(adt, accept="NE", application="NE")
        async with site.running():
            put(site, "a.hl7", b"".join(cut(raw, 3)) + adt(control_id="C9"))
            await put_away(site, "a.hl7", "done")
            assert await site.delivered("adt/out", 2) == [raw, adt(control_id="C9")]
            put(site, "b.hl7", b"".join(cut(raw, 3)))
            await put_away(site, "b.hl7", "done")
        assert site.states() == ["joined", "joined", "joined", "processed", "processed"]

    async def test_fragments_may_come_in_files_of_their_own(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, FOLDER, JOIN)
        raw = enhanced(adt)
        async with site.running():
            for name, part in zip(("a.hl7", "b.hl7"), cut(raw, 2), strict=True):
                put(site, name, part)
                await put_away(site, name, "done")
            assert await site.delivered("adt/out", 1) == [raw]

    async def test_a_file_whose_fragment_has_no_place_is_set_aside(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, FOLDER, JOIN)
        async with site.running():
            put(site, "a.hl7", cut(enhanced(adt, accept="NE", application="NE"), 2)[1])
            await put_away(site, "a.hl7", "failed")
        assert "E261" in failure(site, "a.hl7")

    async def test_one_without_a_place_that_is_held_is_ours(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, FOLDER, "fragments: {dsc: {unknown: hold}}")
        async with site.running():
            put(site, "a.hl7", cut(enhanced(adt), 2)[1])
            await put_away(site, "a.hl7", "done")
        assert site.states() == ["held"]

    async def test_a_message_that_is_rejected_when_whole_is_set_aside_with_its_last_fragment(
        self, tmp_path, adt
    ) -> None:
        steps = "steps:\n  - validate: {required: [PV1-44], mode: reject}"
        site = site_of(tmp_path, FOLDER, JOIN, steps=steps)
        parts = cut(enhanced(adt), 2)
        async with site.running():
            put(site, "a.hl7", b"".join(parts))
            await put_away(site, "a.hl7", "failed")
            assert site.states() == ["rejected", "rejected", "rejected"]
            put(site, "b.hl7", b"".join(parts))
            await put_away(site, "b.hl7", "failed")
        assert "1 of 2 message(s) refused, 1 taken\nmessage 2" in failure(site, "a.hl7")

    async def test_while_the_store_is_full_the_file_waits(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, FOLDER, JOIN)
        raw = enhanced(adt)
        async with site.running():
            site.store.fail_next(StoreFull("full"))
            put(site, "a.hl7", b"".join(cut(raw, 2)))
            await until(lambda: site.running_channel().outcomes.get("refused"))
            await until(lambda: (site.folder / "in" / "done" / "a.hl7").exists() or failed(site), 10)
            assert await site.delivered("adt/out", 1) == [raw]


def failed(site: SiteUnderTest) -> bool:
    return (site.folder / "in" / "failed" / "a.hl7").exists()


class TestCharset:
    async def test_a_strict_channel_says_no_over_http(self, tmp_path) -> None:
        site = site_of(tmp_path, PORT, STRICT)
        async with site.running():
            answer = await post(site, foreign())
            assert (answer.status_code, msa(answer.content), err(answer.content)) == (500, ("AE", "C1"), ["103"])
        assert site.states() == ["rejected"]

    async def test_and_sets_the_file_aside(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, FOLDER, STRICT)
        async with site.running():
            put(site, "a.hl7", foreign() + adt(control_id="C2"))
            await put_away(site, "a.hl7", "failed")
        assert site.states() == ["rejected", "processed"]
        assert "message 1: control id C1, refused" in failure(site, "a.hl7")

    async def test_what_the_header_of_http_declares_passes(self, tmp_path) -> None:
        site = site_of(tmp_path, PORT, STRICT)
        async with site.running():
            address = site.engine.control.listening["adt"].address
            async with httpx2.AsyncClient(timeout=10) as client:
                answer = await client.post(
                    f"http://{address}/adt",
                    content=foreign(),
                    headers={"Content-Type": "application/hl7-v2; charset=iso-8859-1"},
                )
            assert answer.status_code == 200
            (stored,) = site.messages()
            assert stored.raw is not None
            assert Message.parse(stored.raw).get("PID-5") == "Müller"

    @pytest.mark.parametrize("listen", [PORT, FOLDER])
    async def test_a_fragment_is_held_to_it_too(self, tmp_path, adt, listen) -> None:
        site = site_of(tmp_path, listen, f"{STRICT}\n{JOIN}")
        part = cut(enhanced(adt, charset="UNICODE UTF-8", family="Müller"), 2)[0].replace("ü".encode(), b"\xfc")
        async with site.running():
            if listen == PORT:
                assert await said(site, part) == (500, ["CE"])
            else:
                put(site, "a.hl7", part)
                await put_away(site, "a.hl7", "failed")
        assert site.states() == ["rejected"]


class TestBatches:
    def port(self, settings: str) -> str:
        return f"{{http: {{port: 0, path: /adt, batch: {settings}}}}}"

    async def test_without_a_header_each_message_has_an_answer_or_all_have_one(self, tmp_path, adt, oru) -> None:
        three = adt(control_id="C1") + oru(control_id="C2") + adt(control_id="C3")
        site = site_of(tmp_path / "each", PORT)
        async with site.running():
            assert await said(site, three) == (400, ["AA", "AR", "AA"])
        site = site_of(tmp_path / "one", self.port("{without_header: one}"))
        async with site.running():
            assert await said(site, three) == (400, ["AR"])
        assert site.states() == ["processed", "rejected", "processed"]

    @pytest.mark.parametrize(("answer", "codes"), [("all", ["AA", "AR"]), ("errors", ["AR"]), ("report", [])])
    async def test_with_a_header_the_port_says_what_the_answer_holds(self, tmp_path, adt, oru, answer, codes) -> None:
        site = site_of(tmp_path, self.port(f"{{answer: {answer}}}"))
        two = b"BHS|^~\\&|A\r" + adt(control_id="C1") + oru(control_id="C2") + b"BTS|2\r"
        async with site.running():
            assert await said(site, two) == (400, codes)

    async def test_a_count_that_is_not_true_may_refuse_them(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, self.port("{count: reject}"))
        async with site.running():
            batched = b"BHS|^~\\&|A\r" + adt(control_id="C1") + b"BTS|2\r"
            assert await said(site, batched) == (500, ["AE"])
        assert site.states() == ["rejected"]

    @pytest.mark.parametrize("header", [b"", "BHS|^~\\&|HÄS\r".encode("iso-8859-1")])
    async def test_their_answers_are_in_the_set_that_the_header_of_http_says(self, tmp_path, adt, header) -> None:
        site = site_of(tmp_path, PORT)
        one = adt(control_id="C1", sender=("HÄS", "NORTH"), charset="8859/1")
        async with site.running():
            answer = await post(site, header + one + one.replace(b"|C1|", b"|C2|"))
            assert answer.headers["content-type"] == "application/hl7-v2; charset=utf-8"
            assert answer.content.decode().count("HÄS") == (3 if header else 2)

    async def test_an_empty_batch_is_nothing_to_come_again_for(self, tmp_path) -> None:
        site = site_of(tmp_path, PORT)
        async with site.running():
            assert (await post(site, b"BHS|^~\\&|A\rBTS|0\r")).status_code == 200

    async def test_one_that_cannot_be_stored_refuses_the_whole(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT)
        async with site.running() as engine:
            assert await said(site, adt(control_id="C1")) == (200, ["AA"])
            engine._show_room(False)
            assert await said(site, adt(control_id="C1") + adt(control_id="C2")) == (503, ["AA", "AR"])
            engine._show_room(True)
            assert await said(site, adt(control_id="C1") + adt(control_id="C2")) == (200, ["AA", "AA"])
        assert site.states() == ["processed", "processed"]

    async def test_who_wants_no_answer_to_what_cannot_be_stored_is_told_by_the_status(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT, "ack: {on_store_failure: close}")
        async with site.running() as engine:
            engine._show_room(False)
            assert await said(site, adt(control_id="C1")) == (503, [])

    async def test_what_came_behind_a_batch_that_failed_is_taken_all_the_same(self, tmp_path, adt, monkeypatch) -> None:
        monkeypatch.setattr(batch, "SLICE_S", -1.0)  # a slice is one message
        take_one = Receiver.take_one

        def failing(self, raw, reply, now_us, noted=(), seen=None):
            if b"|C2|" in raw:
                raise ValueError("a defect")
            take_one(self, raw, reply, now_us, noted, seen)

        monkeypatch.setattr(Receiver, "take_one", failing)
        site = site_of(tmp_path, PORT)
        async with site.running():
            inlet = inlet_of(site)
            several = inlet.take(adt(control_id="C1") + adt(control_id="C2") + adt(control_id="C3"), "x")
            behind = [inlet.take(adt(control_id=name), "x") for name in ("C4", "C2", "C5")]
            async with asyncio.timeout(5):
                assert (await several).fate == "refused"
                assert [(await one).fate for one in behind] == ["kept", "refused", "kept"]
            await until(lambda: not inlet.in_hand)
            assert (inlet.gate.unanswered, inlet._room.in_hand_bytes) == (0, 0)

    async def test_a_source_that_has_gone_brings_no_more_of_a_batch(self, tmp_path, adt, monkeypatch) -> None:
        monkeypatch.setattr(batch, "SLICE_S", -1.0)
        site = site_of(tmp_path, PORT)
        async with site.running():
            inlet = inlet_of(site)
            inlet.take(adt(control_id="C1") + adt(control_id="C2") + adt(control_id="C3"), "x")
            inlet.take(adt(control_id="C4"), "x")
            inlet.close()
            await until(lambda: site.states() == ["processed"])
            await asyncio.sleep(0.05)
            assert site.states() == ["processed"]


class TestInTurn:
    async def test_a_message_whose_pipeline_fails_elsewhere_is_held_and_ours(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, PORT)
        async with site.running():
            isolate(site).defect = ValueError("a defect")
            assert (await post(site, adt(control_id="C1"))).status_code == 200
        assert site.states() == ["held"]


def inlet_of(site: SiteUnderTest) -> RoomyInlet:
    inlet = site.engine.control.listening["adt"]._inlets[0]  # type: ignore[attr-defined]
    assert isinstance(inlet, RoomyInlet)
    return inlet


class TestLint:
    @pytest.mark.parametrize(
        ("listen", "more", "told"),
        [
            (FOLDER, WAITS, "nobody hears what out answers: senders of a file source get no acknowledgment"),
            (FOLDER, NUMBERED, "senders of a file source do not hear which number is due"),
            (
                "{http: {port: 1, answer_timeout: 20s}}",
                WAITS,
                "senders wait 20 s for their answer, and when: delivered(out) may take 20 s",
            ),
            (PORT, f"{JOIN}\n{WAITS}", "joined messages do not wait for an answer: when: delivered(out)"),
            (PORT, f"{JOIN}\n{NUMBERED}", "sequence: on does not go with messages in fragments"),
        ],
    )
    def test_what_does_not_go_together_is_said(self, tmp_path, listen, more, told) -> None:
        site = site_of(tmp_path, listen, more)
        findings = load_site(site.folder, site.kinds, {}).findings
        assert [(f.code, f.message) for f in findings if f.is_error] == [("E147", told)]
        assert all(f.hint for f in findings if f.code == "E147")

    @pytest.mark.parametrize("listen", [FOLDER, PORT])
    @pytest.mark.parametrize("more", [JOIN, STRICT, BACK])
    def test_and_what_does_is_not(self, tmp_path, listen, more) -> None:
        site = site_of(tmp_path, listen, more)
        assert not [f for f in load_site(site.folder, site.kinds, {}).findings if f.is_error]

    def test_a_source_says_whether_its_senders_hear_answers(self) -> None:
        assert ListenOptions.model_validate({}).answered_within == 0
