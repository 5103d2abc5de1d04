"""The file source on a real file system: whole files, each once, and none lost whatever falls over."""

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from engine.adapters.sources import file as file_module
from engine.adapters.sources import inbox as inbox_module
from engine.adapters.sources.file import TAKE_OVER_EVERY_S, FileSource, FileSourceSettings
from engine.adapters.sources.inbox import Inbox, Rules
from engine.hl7.batch import batch_fault
from engine.ports.clock import Clock
from engine.ports.judged_clock import JudgedClock
from engine.testing.source_contract import Running, ScriptedInlet, adt, until
from tests.runtime.parts import SetClock

Started = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def started(tmp_path: Path) -> Started:
    @asynccontextmanager
    async def start(
        inlet: ScriptedInlet | None = None,
        *,
        name: str = "lab",
        kill: bool = False,
        clock: Clock | None = None,
        **settings: object,
    ):
        given = {"folder": "in", "every": "50ms", "stable": "0", **settings}
        options = FileSourceSettings.model_validate(given)
        running = Running(FileSource, options, inlet or ScriptedInlet(), tmp_path, name=name, clock=clock)
        await running.start()
        try:
            yield running
        finally:
            if kill:
                await running.kill()
                # A dead process's lock goes with it at once; here its thread has to let go of it first.
                await asyncio.to_thread(running.source._thread.shutdown)
            else:
                await running.stop()

    return start


def put(folder: Path, name: str, content: bytes) -> Path:
    """As a careful sender does."""
    temporary = folder / f"{name}.tmp"
    temporary.write_bytes(content)
    return temporary.rename(folder / name)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


class TestWholeFiles:
    async def test_a_file_that_grows_is_left_alone_until_it_has_not_changed_for_so_long(
        self, started, inbox, monkeypatch
    ) -> None:
        waiting, looks, clock = Inbox.waiting, [], SetClock()
        clock.stand()

        def counted(self: Inbox):
            looks.append(self)
            return waiting(self)

        async def look() -> None:
            """One that began after this call has come to its end: the next has begun."""
            before = len(looks)
            await until(lambda: len(looks) >= before + 2)

        monkeypatch.setattr(Inbox, "waiting", counted)
        async with started(stable="300ms", clock=clock) as running:
            path = inbox / "a.hl7"
            for end in (*range(20, 160, 20), None):
                path.write_bytes(adt(1)[:end])
                await look()
                clock.ahead_s += 0.29
                await look()
                assert not running.inlet.payloads
            clock.ahead_s += 0.02
            await until(lambda: running.inlet.payloads)
            assert running.inlet.payloads == [adt(1)]

    async def test_a_file_that_changed_between_the_look_and_the_rename_is_given_back(
        self, started, inbox, monkeypatch
    ) -> None:
        take = Inbox.take

        def taken_too_early(self: Inbox, name: str) -> str | None:
            if (inbox / name).stat().st_size < len(adt(1)):
                with (inbox / name).open("ab") as file:
                    file.write(adt(1)[40:])
            return take(self, name)

        monkeypatch.setattr(Inbox, "take", taken_too_early)
        put(inbox, "a.hl7", adt(1)[:40])
        async with started() as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(1)]

    @pytest.mark.parametrize("marker_name", ["a.hl7.done", "a.done"])
    async def test_with_a_marker_a_file_waits_for_it_and_it_goes_away(self, started, inbox, marker_name) -> None:
        async with started(marker=".done") as running:
            put(inbox, "a.hl7", adt(1))
            await asyncio.sleep(0.15)
            assert not running.inlet.payloads
            (inbox / marker_name).touch()
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(1)]
            assert marker_name not in names(inbox)

    @pytest.mark.parametrize("name", ["a.tmp", "b.part", ".hidden", "c.hl7~", "d.HL7.filepart"])
    async def test_what_is_still_being_written_by_its_name_is_not_looked_at(self, started, inbox, name) -> None:
        (inbox / name).write_bytes(adt(1))
        put(inbox, "z.hl7", adt(2))
        async with started() as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(2)]
            assert (inbox / name).exists()

    async def test_only_names_of_the_pattern_are_meant(self, started, inbox) -> None:
        put(inbox, "a.txt", adt(1))
        put(inbox, "b.hl7", adt(2))
        async with started(pattern="*.hl7") as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(2)]


class TestOrder:
    async def test_by_name(self, started, inbox) -> None:
        for number in (3, 1, 2):
            put(inbox, f"{number}.hl7", adt(number))
        async with started() as running:
            await until(lambda: len(names(inbox / "done")) == 3)
            assert running.inlet.payloads == [adt(1), adt(2), adt(3)]

    async def test_by_time(self, started, inbox) -> None:
        for at, number in enumerate((3, 1, 2)):
            os.utime(put(inbox, f"{number}.hl7", adt(number)), ns=(at * 10**9, at * 10**9))
        async with started(order="time") as running:
            await until(lambda: len(names(inbox / "done")) == 3)
            assert running.inlet.payloads == [adt(3), adt(1), adt(2)]


class TestSeveralMessages:
    async def test_each_message_of_a_file_is_one_in_order(self, started, inbox) -> None:
        put(inbox, "a.hl7", b"".join(adt(number) for number in range(200)))
        async with started() as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(number) for number in range(200)]

    async def test_a_batch_with_headers_and_lf_line_ends(self, started, inbox) -> None:
        batch = b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r" + adt(1) + adt(2) + b"BTS|2\rFTS|1\r"
        put(inbox, "a.hl7", batch.replace(b"\r", b"\n"))
        async with started() as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(1).replace(b"\r", b"\n"), adt(2).replace(b"\r", b"\n")]

    async def test_an_empty_batch_is_done(self, started, inbox) -> None:
        put(inbox, "a.hl7", b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\rBTS|0\rFTS|1\r")
        async with started() as running:
            await until(lambda: names(inbox / "done"))
            assert not running.inlet.payloads

    async def test_one_refused_message_sets_the_file_aside_with_its_place_and_no_value(
        self, started, inbox, caplog
    ) -> None:
        put(inbox, "Zzyzx.hl7", adt(1) + adt(2, family="Zzyzx") + adt(3))
        async with started(ScriptedInlet("kept", "rejected", "kept")) as running:
            await until(lambda: names(inbox / "failed"))
            assert len(running.inlet.payloads) == 3
        findings = (inbox / "failed" / "Zzyzx.hl7.findings.txt").read_text()
        assert findings.startswith("1 of 3 message(s) refused, 2 taken\nmessage 2: control id C2, refused with AE")
        assert "E212 PV1-2 a value that is not allowed" in findings
        assert "zzyzx" not in findings.lower()
        assert "zzyzx" not in caplog.text.lower()
        assert "a file was set aside" in caplog.text
        assert running.meter.events == ["file_failed"]

    async def test_what_the_store_refused_is_brought_again_and_what_was_rejected_behind_it(
        self, started, inbox
    ) -> None:
        put(inbox, "a.hl7", adt(1) + adt(2) + adt(3) + adt(4) + adt(5))
        script = ScriptedInlet("kept", "rejected", "refused", "rejected", "kept", "kept", "rejected")
        async with started(script) as running:
            await until(lambda: names(inbox / "failed"))
            assert running.inlet.payloads == [adt(number) for number in (1, 2, 3, 4, 5, 3, 4)]
            assert "file_postponed" in running.meter.events


class TestBadFiles:
    @pytest.mark.parametrize("content", [b"", b"\r\n \r\n", b"\x00" * 50])
    async def test_an_empty_file(self, started, inbox, content) -> None:
        put(inbox, "a.hl7", content)
        async with started() as running:
            await until(lambda: len(names(inbox / "failed")) == 2)
        assert not running.inlet.payloads
        assert (inbox / "failed" / "a.hl7.findings.txt").read_text().startswith("E240 ")

    async def test_a_huge_file_is_not_read(self, started, inbox) -> None:
        with (inbox / "a.tmp").open("wb") as file:
            file.truncate(3 * 1024**3)  # sparse
        (inbox / "a.tmp").rename(inbox / "a.hl7")
        async with started(max_file="1MB") as running:
            await until(lambda: len(names(inbox / "failed")) == 2)
        assert not running.inlet.payloads
        assert "E241 the file has 3221225472 bytes" in (inbox / "failed" / "a.hl7.findings.txt").read_text()

    @pytest.mark.parametrize(
        "cut",
        [
            b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r%s%s",
            b"BHS|^~\\&|LAB\r%s%s",
            b"BHS|^~\\&|LAB\r%s%sBTS|3\r",
            b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r%s%sBTS|2\r",
        ],
    )
    async def test_a_batch_that_was_cut_short_is_set_aside_whole(self, started, inbox, cut) -> None:
        put(inbox, "a.hl7", cut % (adt(1), adt(2)))
        async with started() as running:
            await until(lambda: len(names(inbox / "failed")) == 2)
        assert not running.inlet.payloads
        assert (inbox / "failed" / "a.hl7.findings.txt").read_text().startswith("E242 ")

    async def test_a_batch_without_trailers_where_they_are_optional(self, started, inbox) -> None:
        put(inbox, "a.hl7", b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r" + adt(1))
        async with started(trailer="optional") as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(1)]

    def test_two_batches_in_a_file_are_counted_each(self) -> None:
        one, two = b"BHS|^~\\&\r" + adt(1) + b"BTS|1\r", b"BHS|^~\\&\r" + adt(2) + adt(3) + b"BTS|2\r"
        assert batch_fault(one + two, trailer_expected=True) == ""
        assert batch_fault(two + one.replace(b"BTS|1", b"BTS|9"), trailer_expected=True) != ""

    async def test_a_link_is_neither_followed_nor_moved(self, started, inbox, tmp_path) -> None:
        (tmp_path / "secret.hl7").write_bytes(adt(1))
        (inbox / "a.hl7").symlink_to(tmp_path / "secret.hl7")
        (inbox / "folder.hl7").mkdir()
        os.mkfifo(inbox / "pipe.hl7")
        put(inbox, "z.hl7", adt(2))
        async with started() as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(2)]
        assert (inbox / "a.hl7").is_symlink()

    async def test_a_file_that_became_a_link_is_not_followed(self, started, inbox, tmp_path, monkeypatch) -> None:
        (tmp_path / "secret.hl7").write_bytes(adt(1))
        take = Inbox.take

        def swapped(self: Inbox, name: str) -> str | None:
            (inbox / name).unlink()
            (inbox / name).symlink_to(tmp_path / "secret.hl7")
            return take(self, name)

        monkeypatch.setattr(Inbox, "take", swapped)
        put(inbox, "a.hl7", adt(2))
        async with started() as running:
            await until(lambda: len(names(inbox / "failed")) == 2)
        assert not running.inlet.payloads
        assert (inbox / "failed" / "a.hl7").is_symlink()
        assert (tmp_path / "secret.hl7").read_bytes() == adt(1)

    async def test_a_done_folder_that_is_a_link_stops_the_source_and_nothing_leaves_the_folder(
        self, started, inbox, tmp_path, caplog
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        (inbox / "done").symlink_to(tmp_path / "elsewhere")
        put(inbox, "a.hl7", adt(1))
        async with started() as running:
            await until(lambda: "folder_unavailable" in running.meter.events)
            await asyncio.sleep(0.2)
        assert names(tmp_path / "elsewhere") == []
        assert running.inlet.payloads == [adt(1)], "taken once, however often the move is tried"
        assert caplog.text.count("is not a folder, or a link") == 1

    async def test_names_that_are_no_text_and_names_of_full_length(self, started, inbox) -> None:
        put(inbox, os.fsdecode(b"\xff\xfe.hl7"), adt(1))
        put(inbox, "x" * 247 + ".hl7", b"")  # its findings get another name
        async with started() as running:
            await until(lambda: names(inbox / "done") and len(names(inbox / "failed")) == 2)
            assert running.inlet.payloads == [adt(1)]

    async def test_a_second_file_of_the_same_name_is_put_away_beside_the_first(self, started, inbox) -> None:
        async with started() as running:
            put(inbox, "a.hl7", adt(1))
            await until(lambda: names(inbox / "done") == ["a.hl7"])
            put(inbox, "a.hl7", adt(2))
            await until(lambda: names(inbox / "done") == ["a-2.hl7", "a.hl7"])
            assert running.inlet.payloads == [adt(1), adt(2)]


class TestTwoEngines:
    async def test_two_engines_take_every_file_once(self, started, inbox) -> None:
        for number in range(40):
            put(inbox, f"{number:02}.hl7", adt(number))
        async with started(name="one") as one, started(name="two") as two:
            await until(lambda: len(names(inbox / "done")) == 40)
        assert sorted(one.inlet.payloads + two.inlet.payloads) == sorted(adt(number) for number in range(40))

    async def test_what_a_living_engine_has_taken_is_left_alone(self, started, inbox) -> None:
        held = ScriptedInlet()
        held.gate.clear()
        put(inbox, "a.hl7", adt(1))
        async with started(held, name="one"):
            await until(lambda: held.payloads)
            async with started(name="two") as two:
                await asyncio.sleep(0.2)
                assert not two.inlet.payloads
            held.gate.set()

    async def test_what_a_dead_engine_has_taken_is_taken_over(self, started, inbox) -> None:
        held = ScriptedInlet()
        held.gate.clear()
        put(inbox, "a.hl7", adt(1))
        async with started(held, name="one", kill=True):
            await until(lambda: held.payloads)
        async with started(name="two") as two:
            await until(lambda: names(inbox / "done"))
            assert two.inlet.payloads == [adt(1)]

    async def test_what_an_engine_that_dies_later_has_taken_is_taken_over_while_another_runs(
        self, started, inbox, monkeypatch
    ) -> None:
        monkeypatch.setattr(file_module, "TAKE_OVER_EVERY_S", 0.1)
        held = ScriptedInlet()
        held.gate.clear()
        put(inbox, "a.hl7", adt(1))
        async with started(held, name="one", kill=True) as one:
            await until(lambda: held.payloads)
            async with started(name="two") as two:
                await asyncio.sleep(0.15)
                assert not two.inlet.payloads
                await one.kill()
                await until(lambda: names(inbox / "done"))
                assert two.inlet.payloads == [adt(1)]

    async def test_two_engines_of_one_name_do_not_share_what_they_took(self, started, inbox) -> None:
        held = ScriptedInlet()
        held.gate.clear()
        put(inbox, "a.hl7", adt(1))
        async with started(held):
            await until(lambda: held.payloads)
            async with started() as second:
                put(inbox, "b.hl7", adt(2))
                await until(lambda: names(inbox / "done"))
                assert second.inlet.payloads == [adt(2)]
            held.gate.set()


class TestFaults:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
    async def test_a_file_that_cannot_be_moved_is_taken_once_and_moved_later(
        self, started, inbox, monkeypatch, number
    ) -> None:
        rename, broken = inbox_module.rename_new, True

        def failing(old: str, old_folder: int, new: str, new_folder: int) -> None:
            done = (inbox / "done").stat() if (inbox / "done").exists() else None
            if broken and done is not None and os.fstat(new_folder).st_ino == done.st_ino:
                raise OSError(number, os.strerror(number))
            rename(old, old_folder, new, new_folder)

        monkeypatch.setattr(inbox_module, "rename_new", failing)
        put(inbox, "a.hl7", adt(1))
        async with started() as running:
            await until(lambda: running.meter.events.count("folder_unavailable") > 2)
            broken = False
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(1)]

    async def test_a_folder_that_goes_away_and_comes_back_is_used_again_and_told_of_once(
        self, started, inbox, caplog
    ) -> None:
        async with started() as running:
            put(inbox, "a.hl7", adt(1))
            await until(lambda: names(inbox / "done"))
            inbox.rename(inbox.with_name("away"))
            await until(lambda: running.meter.events.count("folder_unavailable") > 2)
            assert not inbox.exists(), "a share that is not mounted is not replaced by a folder"
            inbox.with_name("away").rename(inbox)
            put(inbox, "b.hl7", adt(2))
            await until(lambda: len(names(inbox / "done")) == 2)
            assert running.inlet.payloads == [adt(1), adt(2)]
        assert caplog.text.count("does not exist") == 1

    async def test_a_crash_between_any_two_messages_loses_none(self, started, inbox) -> None:
        for alive in range(1, 6):
            held = ScriptedInlet(*["kept"] * (alive - 1), "refused")
            put(inbox, f"{alive}.hl7", b"".join(adt(10 * alive + number) for number in range(5)))
            async with started(held, kill=True):
                await until(lambda held=held: len(held.payloads) >= 5)
            async with started() as after:
                await until(lambda alive=alive: len(names(inbox / "done")) == alive)
                assert after.inlet.payloads == [adt(10 * alive + number) for number in range(5)]

    async def test_a_stop_does_not_wait_for_a_store_that_refuses(self, started, inbox) -> None:
        put(inbox, "a.hl7", adt(1))
        async with started(ScriptedInlet(*["refused"] * 100)) as running:
            await until(lambda: "file_postponed" in running.meter.events)
        assert names(inbox / "done") == []
        async with started() as after:
            # The first one's thread may let go of the folder later than the second one looks: it looks again, then.
            await until(lambda: names(inbox / "done"), 2 * TAKE_OVER_EVERY_S)
            assert after.inlet.payloads == [adt(1)]

    async def test_a_defect_at_one_file_does_not_stop_the_folder(self, started, inbox) -> None:
        put(inbox, "a.hl7", adt(1))
        put(inbox, "b.hl7", adt(2))
        async with started(ScriptedInlet(ValueError("quotes Zzyzx"))) as running:
            await until(lambda: names(inbox / "done"))
            assert running.inlet.payloads == [adt(1), adt(2)]
        text = (inbox / "failed" / "a.hl7.findings.txt").read_text()
        assert "E244" in text
        assert "Zzyzx" not in text


class TestWhatStays:
    async def test_files_may_be_deleted_instead(self, started, inbox) -> None:
        put(inbox, "a.hl7", adt(1))
        async with started(after="delete") as running:
            await until(lambda: "file_taken" in running.meter.events)
        assert names(inbox) == [".segmill", "failed"]

    def test_old_files_in_done_are_forgotten(self, inbox, tmp_path) -> None:
        (inbox / "done").mkdir()
        (inbox / "done" / "a.hl7").touch()
        folder = Inbox(inbox, "x", Rules())
        folder.forget_done(0)
        assert names(inbox / "done") == ["a.hl7"]
        folder.forget_done(2**62)
        assert names(inbox / "done") == []

    async def test_a_clock_that_jumps_removes_no_file_from_done(self, started, inbox, caplog) -> None:
        """E3: and one that has come so far by itself does."""
        async with started(keep="30d") as running:
            source, clock = running.source, SetClock()
            source._judged = JudgedClock(clock)
            (inbox / "done").mkdir(exist_ok=True)
            (inbox / "done" / "a.hl7").touch()
            clock.wall_ahead_s = 400 * 86_400.0
            for _ in range(2):
                source._forget_at = 0.0
                await source._forget_old()
            assert names(inbox / "done") == ["a.hl7"]
            assert caplog.text.count("the clock is 400.0 days ahead of where it was") == 1
            clock.wall_ahead_s, clock.ahead_s = 0.0, 31 * 86_400.0
            source._judged = JudgedClock(clock)
            source._forget_at = 0.0
            await source._forget_old()
            assert names(inbox / "done") == []

    async def test_what_waits_and_what_failed_is_counted(self, started, inbox) -> None:
        held = ScriptedInlet()
        held.gate.clear()
        (inbox / "failed").mkdir()
        (inbox / "failed" / "old.hl7").touch()
        (inbox / "failed" / "old.hl7.findings.txt").touch()
        put(inbox, "a.hl7", adt(1))
        put(inbox, "b.hl7", adt(2))
        async with started(held) as running:
            await until(lambda: running.meter.waiting == 2)
            assert running.meter.failed == 1
            held.gate.set()
