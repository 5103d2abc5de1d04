"""Disks that take nothing more (reliability.md D3, D4, R4): what comes is refused, what is there goes on, nothing that
was acknowledged is lost, and when there is room again so are the messages, without a restart."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.faults import shim
from tests.faults.disks import resize, run, small_ext4, small_tmpfs, unmount
from tests.faults.ledger import Ledger, cannot
from tests.faults.one_site import OneSite

EXIT_STORE_FAILED = 74


@pytest.mark.parametrize("watermark", ["12MB", "0"])
async def test_R4_a_full_disk_refuses_delivers_and_goes_on_when_there_is_room(
    tmp_path: Path, ledger: Ledger, watermark: str
) -> None:
    """With the watermark no write ever fails; without it SQLite runs into the end of the disk, and nothing is lost."""
    report = tmp_path / "full"
    with small_tmpfs("R4", tmp_path / "disk", "20m") as disk:
        limits = f"limits: {{free_disk: {watermark}, low_disk: 0}}\n"
        async with OneSite(tmp_path / "site", settings=limits, data=disk / "data", padding=4000) as site:
            await site.start(note_full=str(report))
            await site.until(lambda: site.load.answers["AR"] >= 40)
            taken = len(site.load.acknowledged)
            assert taken > 20
            failed_writes = len(report.read_text().splitlines()) if report.exists() else 0
            if watermark != "0":
                assert failed_writes == 0, "a write failed before the watermark was seen"
                wanted = set(site.load.acknowledged)
                await site.until(lambda: wanted <= set(site.receiver.accepted))
            else:
                assert failed_writes > 0
            resize(disk, "96m")
            await site.more(50)
            assert site.load.unanswered == 0
            assert set(site.load.answers) == {"AA", "AR"}
            await site.end_well()
            ledger.write(
                "R4",
                "disk full" if watermark == "0" else "disk full, watermark",
                acknowledged=len(site.load.acknowledged),
                refused=site.load.answers["AR"],
                unanswered=site.load.unanswered,
                writes_that_failed=failed_writes,
                lost=len(site.verdict.lost),
            )


@pytest.mark.parametrize("error", ["EDQUOT", "EROFS", "ENOSPC"])
async def test_R4_a_quota_that_is_used_up_and_a_disk_that_is_read_only_refuse_and_go_on(
    tmp_path: Path, ledger: Ledger, error: str
) -> None:
    """The kernel says so at every write for a while. SQLite calls two of the three a fault of the disk (D4)."""
    library = shim.build("R4", tmp_path)
    async with OneSite(tmp_path / "site", preload=library) as site:
        calls = shim.order("pwrite,write", error, 400, tmp_path / "report", path=str(site.data), count=150)
        await site.start(system_call=calls)
        await site.until(lambda: site.load.answers["AR"] >= 10)
        await site.more(40)
        assert site.load.unanswered == 0
        assert set(site.load.answers) == {"AA", "AR"}
        await site.end_well()
        figures = {"acknowledged": len(site.load.acknowledged), "refused": site.load.answers["AR"]}
        ledger.write("R4", f"{error} for 150 calls", **figures, lost=len(site.verdict.lost))


async def test_R4_a_disk_without_inodes_stops_the_file_destination_and_nothing_else(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Files cannot be made, messages are taken; when some are removed, the rest goes on in its order."""
    with small_ext4("R4", tmp_path / "disk", 8, "-N", "32") as disk:
        out = disk / "out"
        site = OneSite(tmp_path / "site", senders=1)
        site.channel = site.channel.replace("routes:\n", "routes:\n  - to: folder\n") + (
            f'  folder:\n    file: {{{{folder: {out}, name: "{{{{MSH-10}}}}.hl7"}}}}\n'
            "    retry: {{first: 20ms, most: 50ms}}\n"
        )
        async with site:
            await site.start()
            await site.until(lambda: out.is_dir() and os.statvfs(disk).f_ffree == 0)
            await site.more(40)
            written: set[str] = set()
            await site.until_arrived()
            wanted = set(site.load.acknowledged)
            order: list[str] = []

            def take_some() -> bool:
                for path in sorted(out.glob("*.hl7"), key=lambda path: int(path.stem.partition("N")[2])):
                    if path.stem not in written:
                        written.add(path.stem)
                        order.append(path.stem)
                    path.unlink()
                return wanted <= written

            await site.until(take_some)
            numbers = [int(name.partition("N")[2]) for name in order]
            assert numbers == sorted(numbers)
            await site.end_well()
            ledger.write("R4", "no inodes", acknowledged=len(wanted), files=len(written), lost=len(wanted - written))


@pytest.mark.fault
async def test_R4_a_store_that_cannot_be_made_for_want_of_inodes_says_so_and_starts_when_there_are(
    tmp_path: Path, ledger: Ledger
) -> None:
    with small_ext4("R4", tmp_path / "disk", 8, "-N", "32") as disk:
        fillers = []
        while os.statvfs(disk).f_ffree > 2:
            fillers.append(disk / f"filler-{len(fillers)}")
            fillers[-1].touch()
        async with OneSite(tmp_path / "site", data=disk / "data") as site:
            engine = await site.nursery.start(site.folder)
            assert await engine.wait() == EXIT_STORE_FAILED
            assert "Traceback" not in engine.errors()
            for filler in fillers:
                filler.unlink()
            await site.start()
            await site.more(20)
            await site.end_well()
            ledger.write("R4", "no inodes at the start", acknowledged=len(site.load.acknowledged), lost=0)


@pytest.mark.fault
async def test_R4_a_file_system_that_gives_up_ends_the_engine_and_loses_nothing(tmp_path: Path, ledger: Ledger) -> None:
    """ext4 shuts itself down under the engine, as it does after an error of its journal: read-only at once."""
    with small_ext4("R4", tmp_path / "disk", 64) as disk:
        image = disk.with_name(f"{disk.name}.img")
        async with OneSite(tmp_path / "site", data=disk / "data") as site:
            engine = await site.start()
            await site.more(50)
            try:
                run("mount", "-o", "remount,abort", disk)
            except OSError as error:
                cannot("R4", f"this kernel's ext4 knows no abort: {error}")
            async with asyncio.timeout(30):
                await site.load.until_true(lambda: engine.returncode is not None or site.load.answers["AR"] > 20)
            ended = engine.returncode
            assert ended in (None, EXIT_STORE_FAILED), engine.errors()
            await site.load.stop()
            engine.kill()
            await engine.wait()
            unmount(disk)
            run("fsck.ext4", "-p", image, check=False)
            run("mount", "-o", "loop", image, disk)
            await site.start()
            await site.more(20)
            await site.end_well(kills=1)
            ledger.write(
                "R4", "file system gives up", acknowledged=len(site.load.acknowledged), refused=site.load.answers["AR"],
                ended_with=str(ended), lost=len(site.verdict.lost),
            )  # fmt: skip
