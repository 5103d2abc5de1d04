"""Messages in fragments: kept one by one, joined with the last, answered by the book, and never half lost (item 66)."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from engine.hl7.message import Message
from engine.model.finding import load_findings
from engine.model.ids import ChannelName, MessageSeq
from engine.ports.control import By, Order
from engine.ports.operations import INTAKE
from engine.ports.store import CommitUnknown, StoreFull
from engine.runtime.whole_messages import WholeMessages
from engine.testing.fragments import cut_message, cut_segments
from tests.runtime.engines import SiteUnderTest, channel, codes, err, isolate, msa
from tests.runtime.parts import turns, until

JOIN = "fragments: {dsc: join}"


@pytest.fixture
def site(tmp_path: Path, clock) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(more=JOIN)}, clock=clock)


def site_of(tmp_path: Path, more: str, clock=None, **options) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(more=more, **options)}, clock=clock)


def cut(raw: bytes, count: int, prefix: str = "F") -> list[bytes]:
    """In `count` fragments of about the same size, with control ids `F2`, `F3` ..."""
    start = raw.index(b"\r") + 1
    step = (len(raw) - start) // count
    parts = cut_message(raw, [start + step * n for n in range(1, count)], [f"{prefix}{n}" for n in range(2, count + 1)])
    assert len(parts) == count
    return parts


def big(adt, control_id: str = "F1", **given) -> bytes:
    return adt(control_id=control_id, **given) + b"NTE|1||" + b"text that is long enough to be cut " * 8 + b"\r"


def enhanced(adt, accept: str = "AL", application: str = "AL", **given) -> bytes:
    return big(adt, accept_ack=accept, application_ack=application, **given)


class TestJoining:
    async def test_each_fragment_is_accepted_and_the_last_one_makes_the_message(self, site, adt) -> None:
        raw = enhanced(adt)
        async with site.running():
            wire = await site.wire()
            for number, part in enumerate(cut(raw, 3), 1):
                await wire.send(part)
                assert msa(await wire.answer()) == ("CA", f"F{number}")
            assert msa(await wire.answer()) == ("AA", "F1")
            assert await site.delivered("adt/out", 1) == [raw]
            assert site.states() == ["joined", "joined", "joined", "processed"]
            whole = site.messages()[-1]
            assert (whole.raw, whole.control_id, whole.sender, whole.ack_code) == (raw, "F1", "HIS|NORTH", "AA")
            assert [f.code for f in load_findings(whole.findings)] == ["I260"]
            assert site.running_channel().outcomes == {"waiting": 3, "processed": 1}

    async def test_nothing_is_said_of_a_fragment_before_it_is_stored(self, site, adt) -> None:
        async with site.running():
            await site.slow_disk(adt(control_id="A0"))
            wire = await site.wire()
            with site.store.commits_held():
                await wire.send(cut(enhanced(adt), 2)[0])
                await until(lambda: len(site.store.batches) == 2)
                assert await wire.is_silent()
            assert msa(await wire.answer()) == ("CA", "F1")
            assert site.states()[1:] == ["waiting"]

    @pytest.mark.parametrize(
        ("accept", "application", "expected"),
        [
            ("AL", "NE", [("CA", "F1"), ("CA", "F2")]),
            ("NE", "AL", [("AA", "F1")]),
            ("ER", "SU", [("AA", "F1")]),
            ("AL", "ER", [("CA", "F1"), ("CA", "F2")]),
            ("NE", "NE", []),
        ],
    )
    async def test_the_sender_gets_what_it_asks_for(self, site, adt, accept, application, expected) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(enhanced(adt, accept, application), 2), adt(control_id="END"))
            found = [msa(await wire.answer()) for _ in range(len(expected) + 1)]
            assert found == [*expected, ("AA", "END")]
            assert len(await site.delivered("adt/out", 2)) == 2

    async def test_original_mode_has_one_answer_a_fragment_the_last_ones_is_the_messages(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(big(adt), 3))
            assert [msa(a) for a in await wire.answers(3)] == [("AA", "F1"), ("AA", "F2"), ("AA", "F1")]

    async def test_the_answer_to_the_whole_may_name_the_last_fragment(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "fragments: {dsc: {answers: last}}")
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(big(adt), 3))
            assert [msa(a) for a in await wire.answers(3)] == [("AA", "F1"), ("AA", "F2"), ("AA", "F3")]

    async def test_later_fragments_need_no_type_to_be_known_for_what_they_are(self, site, adt) -> None:
        first, second = cut(big(adt), 2)
        fields = second.split(b"|")
        fields[8] = b""
        async with site.running():
            wire = await site.wire()
            await wire.send(first, b"|".join(fields))
            assert codes(await wire.answers(2)) == ["AA", "AA"]
            assert len(await site.delivered("adt/out", 1)) == 1

    async def test_sets_of_several_senders_and_of_one_do_not_mix(self, site, adt) -> None:
        async with site.running():
            wires = [await site.wire() for _ in range(4)]
            wanted = [big(adt, "F1", sender=(f"APP{n}", "X"), ward=f"W{n}") for n in range(4)]
            sent = [cut(raw, 4) for raw in wanted]
            for number in range(4):
                for wire, parts in zip(wires, sent, strict=True):
                    await wire.send(parts[number])
                for wire in wires:
                    assert msa(await wire.answer())[0] == "AA"
            assert sorted(await site.delivered("adt/out", 4)) == sorted(wanted)

    async def test_nothing_overtakes_a_message_whose_last_fragment_is_here(self, site, adt) -> None:
        raw = big(adt)
        async with site.running():
            wire = await site.wire()
            after = [adt(control_id=f"A{n}") for n in range(50)]
            await wire.send(adt(control_id="A"), *cut(raw, 3), *after)
            assert codes(await wire.answers(54)) == ["AA"] * 54
            assert await site.delivered("adt/out", 52) == [adt(control_id="A"), raw, *after]

    async def test_by_default_fragments_are_messages_like_others(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "")
        parts = cut(big(adt), 3)
        async with site.running():
            wire = await site.wire()
            await wire.send(*parts)
            assert [msa(a)[1] for a in await wire.answers(3)] == ["F1", "F2", "F3"]
            assert await site.delivered("adt/out", 3) == parts

    async def test_the_answer_to_the_whole_goes_over_a_connection_of_our_own_where_the_channel_says_so(
        self, tmp_path, adt
    ) -> None:
        back = "ack: {app_ack: connect-back, connect_back: {host: 127.0.0.1, port: 1, accept_ack: AL}}"
        site = site_of(tmp_path, f"{JOIN}\n{back}")
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(enhanced(adt), 2), adt(control_id="END"))
            assert [msa(a) for a in await wire.answers(3)] == [("CA", "F1"), ("CA", "F2"), ("AA", "END")]
            queries = site.store.queries()
            (apart,) = [d for d in queries.deliveries(MessageSeq(3), bodies=True) if d.destination == "app_ack"]
            assert msa(apart.body or b"") == ("AA", "F1")
            assert apart.body is not None and apart.body.split(b"\r")[0].endswith(b"|AL|NE")

    async def test_a_channel_that_answers_when_stored_processes_the_whole_behind_the_answer(
        self, tmp_path, adt
    ) -> None:
        site = site_of(tmp_path, f"{JOIN}\nack: {{when: stored}}")
        raw = big(adt)
        async with site.running():
            pipeline = isolate(site)
            pipeline.gate.clear()
            wire = await site.wire()
            await wire.send(*cut(raw, 2), adt(control_id="A"))
            assert codes(await wire.answers(3)) == ["AA"] * 3
            assert site.states() == ["joined", "joined", "received", "received"]
            pipeline.gate.set()
            assert await site.delivered("adt/out", 2) == [raw, adt(control_id="A")]

    async def test_stored_first_and_acknowledged_elsewhere_the_whole_is_processed_all_the_same(
        self, tmp_path, adt
    ) -> None:
        back = "ack: {when: stored, app_ack: connect-back, connect_back: {host: 127.0.0.1, port: 1}}"
        site = site_of(tmp_path, f"{JOIN}\n{back}")
        raw = enhanced(adt)
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(raw, 2))
            assert codes(await wire.answers(2)) == ["CA", "CA"]
            assert await site.delivered("adt/out", 1) == [raw]

    async def test_a_channel_with_code_of_its_own_gets_the_whole(self, site, adt) -> None:
        raw = big(adt)
        async with site.running():
            pipeline = isolate(site)
            wire = await site.wire()
            await wire.send(*cut(raw, 3))
            assert codes(await wire.answers(3)) == ["AA"] * 3
            assert pipeline.taken == [raw]

    async def test_fragments_may_come_in_a_batch(self, site, adt) -> None:
        raw = big(adt)
        async with site.running():
            wire = await site.wire()
            await wire.send(b"".join(cut(raw, 3)))
            assert [msa(a) for a in await wire.answers(3)] == [("AA", "F1"), ("AA", "F2"), ("AA", "F1")]
            assert await site.delivered("adt/out", 1) == [raw]

    async def test_segments_cut_in_fragments_are_whole_for_the_steps(self, tmp_path, adt) -> None:
        step = 'steps:\n  - filter: NTE-3 ends with "END"'
        site = site_of(tmp_path, "fragments: {add: join, dsc: join}", steps=step)
        raw = adt(control_id="F1") + b"NTE|1||" + b"x" * 300 + b"END\r"
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(cut_segments(raw, [len(raw) - 100, len(raw) - 2]), 3))
            assert codes(await wire.answers(3)) == ["AA"] * 3
            assert await site.delivered("adt/out", 1) == [raw]


class TestAdditions:
    async def test_segments_are_joined_for_the_steps_and_kept_as_they_came(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "fragments: {add: join}")
        raw = big(adt, "A1")
        came = cut_segments(raw, [len(raw) - 50, len(raw) - 20])
        async with site.running():
            wire = await site.wire()
            await wire.send(came)
            assert msa(await wire.answer()) == ("AA", "A1")
            assert await site.delivered("adt/out", 1) == [raw]
            assert [m.raw for m in site.messages()] == [came]

    async def test_by_default_they_pass_as_they_are(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "")
        came = cut_segments(big(adt, "A1"), [200])
        async with site.running():
            wire = await site.wire()
            await wire.send(came)
            assert await site.delivered("adt/out", 1) == [came]


class TestResends:
    async def test_a_fragment_sent_again_gets_its_answer_again(self, site, adt) -> None:
        raw = enhanced(adt)
        one, two, three = cut(raw, 3)
        async with site.running():
            wire = await site.wire()
            await wire.send(one, one, two, one, two, three, two, three)
            found = [msa(await wire.answer()) for _ in range(10)]
            assert found == [
                ("CA", "F1"), ("CA", "F1"), ("CA", "F2"), ("CA", "F1"), ("CA", "F2"),
                ("CA", "F3"), ("AA", "F1"), ("CA", "F2"), ("CA", "F3"), ("AA", "F1"),
            ]  # fmt: skip
            assert await site.delivered("adt/out", 1) == [raw]
            assert site.states() == ["joined"] * 3 + ["processed"]

    async def test_so_it_does_past_the_window_while_its_message_waits_for_more(self, tmp_path, adt, clock) -> None:
        """Its sender heard nothing of it while the intake was paused: refused, none of the message could go on."""
        more = "duplicates: {window: 20s}\nfragments: {dsc: join}"
        site = site_of(tmp_path, more, clock)
        raw = enhanced(adt)
        first, second, third = cut(raw, 3)
        async with site.running():
            wire = await site.wire()
            for part in (first, second):
                await wire.send(part)
                assert msa(await wire.answer())[0] == "CA"
            clock.ahead_s += 46
            for part in (first, second):
                await wire.send(part)
                assert msa(await wire.answer())[0] == "CA"
            await wire.send(third)
            assert [msa(await wire.answer()) for _ in range(2)] == [("CA", "F3"), ("AA", "F1")]
            assert await site.delivered("adt/out", 1) == [raw]
            assert site.states() == ["joined", "joined", "joined", "processed"]

    async def test_the_whole_sent_again_is_answered_as_before(self, site, adt) -> None:
        parts = cut(big(adt), 3)
        async with site.running():
            wire = await site.wire()
            await wire.send(*parts)
            first = await wire.answers(3)
            await wire.send(*parts)
            assert await wire.answers(3) == first
            await turns()
            assert len(site.messages()) == 4

    async def test_a_message_that_was_rejected_may_be_sent_again(self, tmp_path, adt) -> None:
        steps = "steps:\n  - validate: {required: [PV1-44], mode: reject}"
        site = site_of(tmp_path, JOIN, steps=steps)
        async with site.running():
            wire = await site.wire()
            for again in range(1, 3):
                await wire.send(*cut(enhanced(adt), 2))
                found = [msa(await wire.answer()) for _ in range(3)]
                assert found == [("CA", "F1"), ("CA", "F2"), ("AE", "F1")]
                assert site.states() == ["rejected"] * 3 * again

    async def test_a_rejection_that_nobody_wants_to_hear_of_holds_the_message(self, tmp_path, adt) -> None:
        """Its fragments were accepted: their sender has let go of them."""
        steps = "steps:\n  - validate: {required: [PV1-44], mode: reject}"
        site = site_of(tmp_path, JOIN, steps=steps)
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(enhanced(adt, "AL", "NE"), 2))
            assert codes(await wire.answers(2)) == ["CA", "CA"]
            await until(lambda: site.states() == ["joined", "joined", "held"])

    async def test_the_same_id_with_other_content_is_reported(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(control_id="F1"))
            await wire.answer()
            await wire.send(*cut(big(adt), 2))
            await wire.answers(2)
            assert [f.code for f in load_findings(site.messages()[1].findings)] == ["E232"]


class TestRefusals:
    async def test_an_unknown_pointer_is_refused_by_name(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(cut(big(adt), 3)[1], cut(enhanced(adt), 3)[2])
            answers = await wire.answers(2)
            assert [msa(a) for a in answers] == [("AE", "F2"), ("CE", "F3")]
            assert [err(a) for a in answers] == [["204"], ["204"]]
            assert site.states() == ["rejected", "rejected"]

    async def test_an_unknown_pointer_may_be_kept_for_a_person(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "fragments: {dsc: {unknown: hold}}")
        one, two = cut(big(adt), 2)
        async with site.running():
            wire = await site.wire()
            await wire.send(two)
            assert msa(await wire.answer()) == ("AA", "F2")
            assert [f.code for f in load_findings(site.messages()[0].findings)] == ["E261"]
            assert site.states() == ["held"]
            await wire.send(one, two)
            assert [msa(a) for a in await wire.answers(2)] == [("AA", "F1"), ("AA", "F1")]
            assert site.states() == ["held", "joined", "joined", "processed"]

    @pytest.mark.parametrize(
        ("bounds", "answers"),
        [
            ("{most_fragments: 3}", ["AA", "AA", "AA", "AE"]),
            ("{max_message: 1100}", ["AA", "AA", "AE", "AE"]),
        ],
    )
    async def test_bounds_hold(self, tmp_path, adt, bounds, answers) -> None:
        site = site_of(tmp_path, f"fragments: {{dsc: {bounds}}}")
        raw = adt(control_id="F1") + b"NTE|1||" + b"x" * 1200 + b"\r"
        async with site.running():
            wire = await site.wire()
            await wire.send(*cut(raw, 4))
            assert codes(await wire.answers(4)) == answers
            codes_found = [f.code for m in site.messages(states=("rejected",)) for f in load_findings(m.findings)]
            assert codes_found[0] == "E263"

    async def test_a_sender_has_so_many_unfinished_messages(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, "fragments: {dsc: {unfinished: 2}}")
        async with site.running():
            wire = await site.wire()
            firsts = [cut(big(adt, f"S{n}"), 2)[0].replace(b"DSC|P1", b"DSC|Q%d" % n) for n in range(3)]
            await wire.send(*firsts)
            assert codes(await wire.answers(3)) == ["AA", "AA", "AE"]

    async def test_a_store_without_room_refuses_and_the_sender_goes_on_later(self, site, adt) -> None:
        raw = enhanced(adt)
        one, two = cut(raw, 2)
        async with site.running():
            wire = await site.wire()
            site.store.fail_next(StoreFull("full"))
            await wire.send(one)
            assert msa(await wire.answer()) == ("CE", "F1")
            await wire.send(one)
            assert msa(await wire.answer()) == ("CA", "F1")
            site.store.fail_next(StoreFull("full"))
            await wire.send(two)
            assert msa(await wire.answer()) == ("CE", "F2")
            await wire.send(two)
            assert [msa(a) for a in await wire.answers(2)] == [("CA", "F2"), ("AA", "F1")]
            assert await site.delivered("adt/out", 1) == [raw]

    async def test_room_for_the_fragment_and_none_for_the_message(self, site, adt) -> None:
        """The message is made as soon as there is room, whether its sender asks again or not."""
        raw = enhanced(adt)
        async with site.running():
            wire = await site.wire()
            one, two = cut(raw, 2)
            await wire.send(one)
            await wire.answer()
            commit = site.store.commit
            failing = [StoreFull("full")]

            def commits(batch):
                if failing and any(intake.parts is not None for intake in batch.intakes):
                    raise failing.pop()
                return commit(batch)

            site.store.commit = commits
            await wire.send(two)
            assert msa(await wire.answer()) == ("CE", "F2")
            await wire.send(two)
            assert [msa(a) for a in await wire.answers(2)] == [("CA", "F2"), ("AA", "F1")]
            assert await site.delivered("adt/out", 1) == [raw]

    @pytest.mark.parametrize("ack", ["processed", "stored"])
    async def test_a_strict_channel_refuses_a_fragment_that_is_not_as_declared(self, tmp_path, adt, ack) -> None:
        site = site_of(tmp_path, f"{JOIN}\ncharset: {{strict: true}}\nack: {{when: {ack}}}")
        one, two = cut(big(adt), 2)
        async with site.running():
            wire = await site.wire()
            await wire.send(one, two.replace(b"text that", b"t\xe4xt that"))
            answers = await wire.answers(2)
            assert codes(answers) == ["AA", "AE"] and err(answers[1]) == ["103"]
            assert site.states() == ["waiting", "rejected"]

    async def test_a_set_that_another_took_the_pointer_of_is_held_when_there_is_room(
        self, tmp_path, adt, clock
    ) -> None:
        site = site_of(tmp_path, "fragments: {dsc: {timeout: 1s}}", clock)
        first, second = cut(big(adt, "F1"), 2)[0], cut(big(adt, "G1"), 2)[0]
        async with site.running():
            wire = await site.wire()
            await wire.send(first)
            await wire.answer()
            commit = site.store.commit
            failing = [StoreFull("full")]

            def commits(batch):
                if failing and any(intake.parts is not None for intake in batch.intakes):
                    raise failing.pop()
                return commit(batch)

            site.store.commit = commits
            await wire.send(second)
            assert msa(await wire.answer()) == ("AA", "G1")
            await until(lambda: site.states() == ["joined", "waiting", "held"])

    async def test_a_set_that_another_took_the_pointer_of_is_held_after_a_crash(self, tmp_path, adt) -> None:
        site = site_of(tmp_path, JOIN)
        first, second = cut(big(adt, "F1"), 2)[0], cut(big(adt, "G1"), 2)[0]
        async with site.running(stop=False):
            wire = await site.wire()
            await wire.send(first)
            await wire.answer()
            commit = site.store.commit

            def commits(batch):
                if any(intake.parts is not None for intake in batch.intakes):
                    raise CommitUnknown("gone")
                return commit(batch)

            site.store.commit = commits
            await wire.send(second)
            await until(lambda: len(site.messages()) == 2)
            await wire.rest()
            site.store.commit = commit
        assert site.states() == ["waiting", "waiting"]
        async with site.running():
            await until(lambda: site.states() == ["joined", "waiting", "held"])


class TestTimeouts:
    @pytest.fixture
    def site(self, tmp_path: Path, clock) -> SiteUnderTest:
        return site_of(tmp_path, "fragments: {dsc: {timeout: 1s}}", clock)

    async def test_what_is_not_completed_is_held_where_a_person_sees_it(self, site, adt, caplog) -> None:
        raw = big(adt)
        parts = cut(raw, 3)
        async with site.running():
            wire = await site.wire()
            await wire.send(*parts[:2])
            await wire.answers(2)
            site.clock.ahead_s += 2
            await until(lambda: "held" in site.states())
            assert site.states() == ["joined", "joined", "held"]
            held = site.messages()[-1]
            (finding,) = load_findings(held.findings)
            assert finding.code == "E260" and "2 fragments" in finding.text
            assert held.control_id == "F1" and raw.startswith((held.raw or b"")[:-10])
            assert site.kept.bodies("adt/out") == []
            await wire.send(parts[2])
            assert msa(await wire.answer()) == ("AE", "F3")

    async def test_a_person_releases_it_as_it_is(self, site, adt) -> None:
        async with site.running() as engine:
            wire = await site.wire()
            await wire.send(cut(big(adt), 2)[0])
            await wire.answer()
            site.clock.ahead_s += 2
            await until(lambda: "held" in site.states())
            report = await engine.control.release([MessageSeq(2)])
            assert report.messages == 1
            (body,) = await site.delivered("adt/out", 1)
            assert Message.parse(body).names()[-1] == "NTE"
            assert b"DSC" not in body and b"ADD" not in body

    async def test_its_sender_may_begin_again_with_the_same_fragments(self, site, adt) -> None:
        raw = big(adt)
        parts = cut(raw, 3)
        async with site.running():
            wire = await site.wire()
            await wire.send(*parts[:2])
            await wire.answers(2)
            site.clock.ahead_s += 2
            await until(lambda: "held" in site.states())
            await wire.send(*parts)
            assert [msa(a) for a in await wire.answers(3)] == [("AA", "F1"), ("AA", "F2"), ("AA", "F1")]
            assert await site.delivered("adt/out", 1) == [raw]
            assert site.states() == ["joined", "joined", "held", "joined", "joined", "joined", "processed"]

    async def test_so_it_may_where_all_fragments_have_one_control_id(self, site, adt) -> None:
        raw = big(adt)
        parts = cut_message(raw, [len(raw) // 3, 2 * len(raw) // 3], ["F1", "F1"])
        async with site.running():
            wire = await site.wire()
            await wire.send(*parts[:2])
            await wire.answers(2)
            site.clock.ahead_s += 2
            await until(lambda: "held" in site.states())
            for _ in range(2):
                await wire.send(*parts)
                assert [msa(a) for a in await wire.answers(3)] == [("AA", "F1")] * 3
                assert await site.delivered("adt/out", 1) == [raw]
                assert site.states() == ["joined", "joined", "held", "joined", "joined", "joined", "processed"]

    async def test_a_pointer_that_is_used_again_ends_the_older_message(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            old, new = cut(big(adt, "OLD"), 2), cut(big(adt, "NEW"), 2, "N")
            await wire.send(old[0], *new)
            assert [msa(a) for a in await wire.answers(3)] == [("AA", "OLD"), ("AA", "NEW"), ("AA", "NEW")]
            assert await site.delivered("adt/out", 1) == [big(adt, "NEW")]
            (held,) = site.messages(states=("held",))
            assert held.control_id == "OLD"

    async def test_one_that_fails_each_time_keeps_no_other_from_being_held(
        self, site, adt, caplog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(cut(big(adt, "BAD", sender=("X", "Y")), 2)[0], cut(big(adt, "GOOD"), 2)[0])
            await wire.answers(2)
            real = WholeMessages.read

            async def read(wholes: WholeMessages, found) -> object:
                if found.parts[0].seq == 1:
                    raise RuntimeError("as it is")
                return await real(wholes, found)

            monkeypatch.setattr(WholeMessages, "read", read)
            site.clock.ahead_s += 2
            await until(lambda: "held" in site.states())
            (held,) = site.messages(states=("held",))
            assert held.control_id == "GOOD"
            assert site.states() == ["waiting", "joined", "held"]
            assert "a message in fragments failed, and is tried again later: RuntimeError" in caplog.text
            monkeypatch.undo()
            site.clock.ahead_s += 2
            await until(lambda: site.states().count("held") == 2)

    async def test_a_set_that_goes_on_in_time_is_left_alone(self, site, adt) -> None:
        raw = big(adt)
        async with site.running():
            wire = await site.wire()
            for part in cut(raw, 4):
                await wire.send(part)
                await wire.answer()
                site.clock.ahead_s += 0.8
            assert await site.delivered("adt/out", 1) == [raw]


class TestRestarts:
    @pytest.mark.parametrize("stop", [True, False])
    async def test_what_waits_goes_on_after_a_restart(self, site, adt, stop) -> None:
        raw = enhanced(adt)
        parts = cut(raw, 4)
        for number, part in enumerate(parts, 1):
            async with site.running(stop=stop):
                wire = await site.wire()
                await wire.send(part)
                assert msa(await wire.answer()) == ("CA", f"F{number}")
                if number == 4:
                    assert msa(await wire.answer()) == ("AA", "F1")
                    assert await site.delivered("adt/out", 1) == [raw]
        assert site.states() == ["joined"] * 4 + ["processed"]

    async def test_a_crash_between_the_last_fragment_and_the_message_loses_nothing(
        self, site, adt, monkeypatch
    ) -> None:
        raw = enhanced(adt)
        one, two = cut(raw, 2)
        async with site.running(stop=False):
            keeper = site.running_channel().fragments
            assert keeper is not None
            never = asyncio.Event()

            async def finish(*_: object) -> None:
                await never.wait()

            monkeypatch.setattr(keeper, "_finish", finish)
            wire = await site.wire()
            await wire.send(one, two)
            await until(lambda: site.states() == ["waiting", "waiting"])
        async with site.running():
            assert await site.delivered("adt/out", 1) == [raw]
            wire = await site.wire()
            await wire.send(two)
            assert [msa(a) for a in await wire.answers(2)] == [("CA", "F2"), ("AA", "F1")]
            assert site.states() == ["joined", "joined", "processed"]

    async def test_a_channel_that_joins_no_more_hands_them_to_a_person(self, site, adt) -> None:
        async with site.running():
            wire = await site.wire()
            await wire.send(cut(big(adt), 2)[0])
            await wire.answer()
        (site.folder / "channels" / "adt" / "channel.yaml").write_text(channel())
        async with site.running():
            assert site.states() == ["held"]
            (finding,) = load_findings(site.messages()[0].findings)
            assert finding.code == "E262"

    async def test_damaged_bytes_are_never_joined(self, site, adt) -> None:
        parts = cut(big(adt), 3)
        async with site.running():
            wire = await site.wire()
            await wire.send(*parts[:2])
            await wire.answers(2)
            site.store.damage(MessageSeq(1))
            await wire.send(parts[2])
            assert msa(await wire.answer()) == ("AA", "F3")
            await until(lambda: site.states() == ["held"] * 3)
            assert site.kept.bodies("adt/out") == []


async def test_while_the_intake_is_paused_no_fragment_is_acknowledged_as_a_part_of_what_was_given_up(
    tmp_path, adt, clock
) -> None:
    """Nor is the last one, of which the message may be refused yet: it comes again, and has its turn."""
    site = site_of(tmp_path, "fragments: {dsc: {timeout: 1s}}", clock=clock)
    first, second = cut(big(adt), 2)
    async with site.running() as engine:
        wire = await site.wire()
        await wire.send(first)
        assert codes([await wire.answer()]) == ["AA"]
        clock.ahead_s += 2
        await until(lambda: "held" in site.states())
        where = [(ChannelName("adt"), INTAKE)]
        await engine.control.operate(Order("pause", By(), lanes=where))
        await wire.send(first)
        no = await wire.answer()
        assert codes([no]) == ["AR"] and err(no) == ["207"]
        await engine.control.operate(Order("resume", By(), lanes=where))
        await wire.send(first, second)
        assert codes(await wire.answers(2)) == ["AA", "AA"]
        assert len(await site.delivered("adt/out", 1)) == 1


async def test_the_real_store_keeps_them_too(tmp_path, adt) -> None:
    site = SiteUnderTest(tmp_path / "site", {"adt": channel(more=JOIN)}, "admin: off\n")
    raw = enhanced(adt)
    one, two, three = cut(raw, 3)
    async with site.running():
        wire = await site.wire()
        await wire.send(one, two)
        assert codes(await wire.answers(2)) == ["CA", "CA"]
    async with site.running():
        wire = await site.wire()
        await wire.send(three)
        assert [msa(a) for a in await wire.answers(2)] == [("CA", "F3"), ("AA", "F1")]
        assert await site.delivered("adt/out", 1) == [raw]
    db = sqlite3.connect(site.folder / "data" / "segmill.db")
    assert db.execute("SELECT state, count(*) FROM message GROUP BY state").fetchall() == [(1, 1), (7, 3)]
    db.close()
