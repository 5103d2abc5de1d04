"""What `segmill demo` does: a site, receivers, an engine, a morning's messages, and what came of them."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from engine.adapters.api.access import FIRST_USER
from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender, SendReport
from engine.adapters.sinks.file import FileSinkSettings
from engine.app import Engine, EngineFailed
from engine.cli.demo_traffic import UNKNOWN_CODE, traffic
from engine.cli.exits import CANNOT_WRITE, CONFIGURATION, FINDINGS, GOOD, TRY_AGAIN, Failure
from engine.cli.findings import show
from engine.cli.init import make_site
from engine.cli.output import columns, duration, emit, printable, say, styled
from engine.cli.sites import SITE_FILE
from engine.cli.stores import open_queries
from engine.config.entries import Destination
from engine.config.site import LoadedSite, load_site
from engine.config.worklist import WorklistOptions
from engine.model.finding import load_findings
from engine.pipeline.registry import load_kinds
from engine.ports.operations import By
from engine.testing.peers import ReceivingPeer

CHANNELS: Final = ("adt", "orders", "results", "scanners")
DELIVERED_WITHIN_S: Final = 30.0

ASKING: Final = "CT2"
STATION: Final = "ScheduledStationAETitle"
ASKED_FOR: Final = ("PatientName", "AccessionNumber")
"""As which scanner to ask for the worklist, and what for."""

ENVIRONMENT: Final = "demo"
ARCHIVE: Final = "out"

CONSOLE_PORT: Final = "SEGMILL_CONSOLE_PORT"
PREFERRED: Final = {
    "SEGMILL_ADT_PORT": 2575,
    "SEGMILL_ORDERS_PORT": 2576,
    "SEGMILL_RESULTS_PORT": 2577,
    "SEGMILL_SCANNERS_PORT": 2578,
    "SEGMILL_DICOM_PORT": 11112,
    "SEGMILL_ADMIN_PORT": 9464,
    CONSOLE_PORT: 8080,
}
"""The usual ports, taken if they are free; else any."""

CONSOLE_YAML: Final = """
console: {port: "${SEGMILL_CONSOLE_PORT:-8080}"}   # pages for people and the HTTP API; segmill docs console
"""


def demo(folder: Path, *, once: bool, as_json: bool) -> int:
    """Run it in `folder`; the command's exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    _prepare(folder)
    return asyncio.run(_Demo(folder, once=once, as_json=as_json).run())


def _prepare(folder: Path) -> None:
    """A site of the demo's own in `folder`. Raises Failure for a folder with anything else in it.

    Invented patients must not get into a site that somebody works with.
    """
    if (folder / SITE_FILE).exists():
        site = load_site(folder, load_kinds(), os.environ).site
        if site is not None and site.environment != ENVIRONMENT:
            what = f"the site in {folder} is not the demo's (environment: {site.environment or 'none'})"
            raise Failure(CANNOT_WRITE, what, "Name another folder: segmill demo --dir DIR")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise Failure(CANNOT_WRITE, f"{folder} is not empty and no site", "Name another folder: segmill demo --dir DIR")
    make_site(folder, list(CHANNELS), environment=ENVIRONMENT, admin_port=PREFERRED["SEGMILL_ADMIN_PORT"])
    with (folder / SITE_FILE).open("a", encoding="utf-8") as file:
        file.write(CONSOLE_YAML)


@dataclass(slots=True)
class Row:
    """What came of one channel's messages."""

    channel: str
    received: int
    delivered: int
    held: int
    refused: int
    duplicates: int
    p99_s: float
    outputs: list[str]


class _Demo:
    """One run of it."""

    def __init__(self, folder: Path, *, once: bool, as_json: bool) -> None:
        self._folder = folder.resolve()
        self._shown = folder
        self._once = once
        self._as_json = as_json
        self._began_us = time.time_ns() // 1000
        self._destinations: dict[str, Mapping[str, Destination]] = {}
        self._sign_in = ""

    async def run(self) -> int:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        async with ReceivingPeer(keep=False) as ris, ReceivingPeer(keep=False) as epr:
            engine = await self._start(ris, epr)
            try:
                reports = await self._feed(engine)
                is_through = await self._settled(engine) and not any(report.failures for report in reports.values())
                if not self._once:
                    self._sign_in = await self._first_sign_in(engine)
                self._show(self._rows(engine, reports, {"ris": ris, "epr": epr}), engine)
                if not self._once:
                    say("still running, Ctrl-C stops; 'segmill demo --once' ends by itself, for scripts")
                    await self._until(stopped, engine)
            finally:
                await engine.stop()
        if not self._once:
            say("stopped")
        return GOOD if is_through else FINDINGS

    async def _start(self, ris: ReceivingPeer, epr: ReceivingPeer) -> Engine:
        """The engine on the usual ports if they are free, else on any.

        Somebody may take a port after it was looked at. Each one's listening says so by failing, but the console's:
        an engine runs without one, a demo is not complete without.
        """
        peers = {"SEGMILL_RIS_PORT": ris.address[1], "SEGMILL_EPR_PORT": epr.address[1]}
        usual = {name: port if _is_free(port) else 0 for name, port in PREFERRED.items()}
        tries = [usual, dict.fromkeys(PREFERRED, 0)]
        while tries:
            ports = tries.pop(0)
            engine = self._engine({**ports, **peers})
            try:
                await engine.start()
            except EngineFailed as exc:
                failure = exc
                continue
            if ports[CONSOLE_PORT] and engine.console is not None and engine.console.failure:
                await engine.stop()
                tries.insert(0, {**ports, CONSOLE_PORT: 0})
                continue
            return engine
        hint = (
            "Another demo runs in this folder? Stop it, or name another: --dir DIR"
            if failure.exit_code == TRY_AGAIN
            else ""
        )
        raise Failure(failure.exit_code, failure.sentence, hint)

    def _engine(self, ports: Mapping[str, int]) -> Engine:
        own = {
            **{name: str(port) for name, port in ports.items()},
            "SEGMILL_LISTEN_HOST": "127.0.0.1",
            "SEGMILL_RIS_HOST": "127.0.0.1",
            "SEGMILL_EPR_HOST": "127.0.0.1",
            "SEGMILL_DICOM_HOST": "127.0.0.1",
            "SEGMILL_ARCHIVE": ARCHIVE,
        }

        def read() -> LoadedSite:
            return load_site(self._folder, load_kinds(), {**os.environ, **own})

        site = read()
        if not site.is_valid:
            show([finding for finding in site.findings if finding.is_error], self._folder)
            raise Failure(CONFIGURATION, f"the site in {self._shown} has errors", "Mend them, or remove the folder.")
        self._destinations = {channel.name: channel.file.destinations for channel in site.channels}
        return Engine(site, reread=read, announce=lambda text: None)  # the table says it, at its end

    async def _feed(self, engine: Engine) -> dict[str, SendReport]:
        """Every channel's messages at once, each over a connection of its own, in order."""
        now = datetime.now().astimezone()
        run = _letters(int(now.timestamp()))
        senders = {
            channel: Sender(Target(*engine.addresses[channel]), messages)
            for channel, messages in traffic(run, now.strftime("%Y%m%d%H%M%S%z")).items()
            if channel in engine.addresses
        }
        reports = await asyncio.gather(*(sender.run() for sender in senders.values()))
        return dict(zip(senders, reports, strict=True))

    async def _settled(self, engine: Engine) -> bool:
        """Until nothing waits but what a person must release; False if that took too long."""
        deadline = time.monotonic() + DELIVERED_WITHIN_S
        while time.monotonic() < deadline:
            lanes = [lane for channel in await engine.control.status() for lane in channel.lanes]
            if not any(lane.queued for lane in lanes):
                return True
            await asyncio.sleep(0.02)
        say(
            f"Some deliveries still wait after {DELIVERED_WITHIN_S:g} s. See them: "
            f"segmill messages --site {self._shown} --state queued"
        )
        return False

    async def _first_sign_in(self, engine: Engine) -> str:
        """How to sign in to the console. A password, and no link that has it in it: browsers keep addresses."""
        console = engine.console
        if console is None or console.url is None:
            return ""
        with open_queries(self._folder / "data" / "segmill.db") as queries:
            first = queries.user(FIRST_USER)
        if first is not None and not first.must_change:
            return f"as {FIRST_USER}, with the password that you set before"
        password = await console.access.give_password(By("segmill demo"), FIRST_USER)
        return f"as {FIRST_USER}, once, with the password {password}"

    async def _until(self, stopped: asyncio.Event, engine: Engine) -> None:
        """Until Ctrl-C. Raises Failure if the engine fails before."""
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(engine.wait_closed(), name="watch the engine")
                await stopped.wait()
                watching.cancel()
        except* EngineFailed as failed:
            first = failed.exceptions[0]
            assert isinstance(first, EngineFailed)
            raise Failure(first.exit_code, first.sentence) from None

    # -- what came of it ------------------------------------------------------------------------

    def _rows(self, engine: Engine, reports: Mapping[str, SendReport], peers: Mapping[str, ReceivingPeer]) -> list[Row]:
        rows = []
        for channel, report in reports.items():
            numbers = engine.meter.channel(channel)
            lanes = {name: lane for (owner, name), lane in engine.meter.lanes.items() if owner == channel}
            outcomes = numbers.outcomes.values
            outputs = [self._place(self._destinations[channel][name], name, peers, engine) for name in lanes]
            rows.append(
                Row(
                    channel,
                    numbers.total,
                    sum(lane.outcomes.values["delivered"] for lane in lanes.values()),
                    outcomes["held"],
                    outcomes["rejected"],
                    outcomes["duplicate"],
                    report.percentile(0.99),
                    outputs,
                )
            )
        return rows

    def _place(self, destination: Destination, name: str, peers: Mapping[str, ReceivingPeer], engine: Engine) -> str:
        """Where to look for what a destination got."""
        if isinstance(destination.options, WorklistOptions) and engine.dicom_port is not None:
            return f"worklist 127.0.0.1:{engine.dicom_port}"
        if isinstance(destination.options, FileSinkSettings):
            return f"{self._shown / destination.options.folder}/"
        if name in peers:
            return "{} {}:{}".format(name, *peers[name].address)
        return name

    def _show(self, rows: list[Row], engine: Engine) -> None:
        metrics = "http://{}:{}/metrics".format(*engine.admin_address) if engine.admin_address else None
        stopped_short = self._stopped_short()
        if self._as_json:
            emit(
                {
                    "site": str(self._folder),
                    "metrics": metrics,
                    "console": self._console(engine),
                    "channels": [
                        {**asdict(row), "listening": "{}:{}".format(*engine.addresses[row.channel])} for row in rows
                    ],
                    "stopped_short": stopped_short,
                    "worklist": self._worklist(engine),
                }
            )
            return
        headers = ("channel", "received", "delivered", "held", "refused", "duplicate", "p99", "output")
        table = [
            (
                styled(row.channel, bold=True),
                str(row.received),
                str(row.delivered),
                _marked(row.held, "yellow"),
                _marked(row.refused, "red"),
                _marked(row.duplicates, "cyan"),
                duration(row.p99_s),
                ", ".join(row.outputs),
            )
            for row in rows
        ]
        click.echo(columns(headers, table, right=headers[1:-1]))
        click.echo()
        for told in stopped_short:
            what = f"message {told['seq']} of {told['channel']}"
            click.echo(f"{told['state']:<9} {what}: {told['code']} {printable(told['text'])}")
        click.echo("on purpose: what matters is what happens when things go wrong")
        click.echo()
        if (worklist := self._worklist(engine)) is not None:
            click.echo(f"worklist  {worklist['steps']} steps for scanners; as the scanner {ASKING} asks, with dcmtk:")
            click.echo(f"          {worklist['ask']}")
            click.echo()
        self._show_next(stopped_short, engine, metrics)

    def _show_next(self, stopped_short: list[dict[str, Any]], engine: Engine, metrics: str | None) -> None:
        held = next((told for told in stopped_short if told["state"] == "held"), None)
        console = self._console(engine)
        if console is not None and self._sign_in:
            click.echo(f"console   {console}")
            click.echo(f"          sign in {self._sign_in}")
        elif engine.console is not None and engine.console.failure:
            click.echo(f"console   not there: {printable(engine.console.failure)}")
        if metrics:
            click.echo(f"metrics   {metrics}")
        if (activate := _not_on_the_path()) is not None:
            click.echo(f"terminal  . {activate}      in another one, so that it finds segmill")
        lines = [f"segmill messages --site {self._shown} --state held"]
        if held:
            lines.append(f"segmill messages {held['seq']} --site {self._shown} --show-values")
            lines.append(f"segmill explain {held['code']}")
        if engine.dicom_port is not None:
            lines.append(f"segmill worklist query --site {self._shown} --show-values {STATION}={ASKING}")
            lines.append(f"segmill dicom find 127.0.0.1:{engine.dicom_port} --calling {ASKING} {STATION}={ASKING}")
        if adt := engine.addresses.get("adt"):
            sample = next(iter(sorted((self._shown / "channels" / "adt" / "cases").glob("*/in.hl7"))), None)
            if sample is not None:
                lines.append(f"segmill try adt {sample} --site {self._shown}")
                lines.append(f"segmill send {sample} --to {adt[0]}:{adt[1]}")
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else 'try':<9} {line}")
        if held and held["code"] == "E214":
            row = f"results/tables/codes.csv {UNKNOWN_CODE} N0099-9 Ferritin"
            click.echo(f"{'release':<9} segmill tables add {row} --site {self._shown}")
            click.echo(f"{'':<9} segmill reload {self._shown}")
            click.echo(f"{'':<9} segmill release {held['seq']} --site {self._shown}")

    def _console(self, engine: Engine) -> str | None:
        return engine.console.url if engine.console is not None else None

    def _worklist(self, engine: Engine) -> dict[str, Any] | None:
        """What is there for scanners, where they find it, and how to ask as one of them; None without a port."""
        if engine.dicom_port is None:
            return None
        with open_queries(self._folder / "data" / "segmill.db") as queries:
            counts = queries.worklist_counts()
        step = "ScheduledProcedureStepSequence[0]"
        keys = [
            *ASKED_FOR,
            f"{step}.ScheduledProcedureStepStartDate={datetime.now().astimezone():%Y%m%d}",
            f"{step}.ScheduledProcedureStepDescription",
            f"{step}.{STATION}={ASKING}",
        ]
        asked = " ".join(f'-k "{key}"' if "[" in key else f"-k {key}" for key in keys)
        return {
            "steps": sum(count for (_, status), count in counts.items() if status == "SCHEDULED"),
            "dicom": f"127.0.0.1:{engine.dicom_port}",
            "ask": f"findscu -v -W -aet {ASKING} -aec SEGMILL {asked} 127.0.0.1 {engine.dicom_port}",
        }

    def _stopped_short(self) -> list[dict[str, Any]]:
        """This run's held and refused messages with their reasons, oldest first."""
        told = []
        with open_queries(self._folder / "data" / "segmill.db") as queries:
            for message in queries.messages(states=("held", "rejected"), since_us=self._began_us, newest_first=False):
                errors = [finding for finding in load_findings(message.findings) if finding.severity == "error"]
                told.append(
                    {
                        "seq": message.seq,
                        "channel": message.channel,
                        "state": "refused" if message.state == "rejected" else message.state,
                        "code": errors[0].code if errors else "",
                        "text": errors[0].text if errors else "",
                    }
                )
        return told


def _marked(number: int, colour: str) -> str:
    return styled(str(number), fg=colour) if number else "0"


def _not_on_the_path() -> Path | None:
    """What puts this `segmill` on a terminal's PATH, where it is in a virtual environment and not on it; else None."""
    activate = Path(sys.prefix) / "bin" / "activate"
    if shutil.which("segmill") is not None or sys.prefix == sys.base_prefix or not activate.is_file():
        return None
    here = Path.cwd()
    return activate.relative_to(here) if activate.is_relative_to(here) else activate


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _letters(number: int) -> str:
    """A number in few letters and digits."""
    digits = "0123456789ABCDEFGHJKLMNPQRSTVWXYZ"
    text = ""
    while number:
        number, rest = divmod(number, len(digits))
        text = digits[rest] + text
    return text
