"""Code tables: which codes the held messages wait for, and rows for them.

To let go on what waited, an order `release` names the messages that the list has, after a reload.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import Call
from engine.adapters.api.models import ChannelPath, Misses, MissesQuery, MissShown, RowAdded, RowBody
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.table_files import RowRefused, add_row
from engine.config.site import CHANNELS, load_version
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.finding import load_findings
from engine.model.ids import ChannelName, MessageSeq, VersionId
from engine.pipeline.compile import ChannelError, CompiledChannel, compile_channel
from engine.pipeline.registry import load_kinds, load_steps
from engine.ports.clock import from_us
from engine.ports.store import StoredMessage, StoreQueries

NO_ROW: Final = "E214"
MOST_MESSAGES: Final = 10_000
MOST_SECONDS: Final = 15.0
OWN_CODE: Final = "its channel runs code of its own, which is not run here: segmill tables misses"


class _Unread(Exception):
    """The cause could not be found; the text says why, with nothing of the message."""


class _Looking:
    """Runs held messages again, without any effect, by the version of their channel that held them."""

    def __init__(self, queries: StoreQueries) -> None:
        self._queries = queries
        self._made: dict[int, CompiledChannel | str] = {}

    def missed(self, stored: StoredMessage) -> list[tuple[str, str]]:
        """(table, key) of each lookup without a row. Raises _Unread."""
        channel = self._channel(stored)
        if stored.raw is None:
            raise _Unread("its bytes are no longer kept")
        try:
            message = Message.parse(stored.raw, fallback=channel.fallback_charset)
        except UnreadableMessage:
            raise _Unread("it cannot be read here") from None
        trace = channel.trace(message, from_us(stored.received_at_us))
        steps = (step for step in trace.steps if step.outcome == "held")
        found = [(lookup.table, lookup.key) for step in steps for lookup in step.lookups if lookup.row is None]
        if not found:
            raise _Unread("run again, it is not held for the lack of a row")
        return found

    def _channel(self, stored: StoredMessage) -> CompiledChannel:
        if stored.version not in self._made:
            self._made[stored.version] = self._make(stored.channel, stored.version)
        made = self._made[stored.version]
        if isinstance(made, str):
            raise _Unread(made)
        return made

    def _make(self, name: ChannelName, version: VersionId) -> "CompiledChannel | str":
        files = self._queries.version_files(version)
        if not files:
            return "the version of its channel is not recorded"
        if any(path.endswith(".py") for path in files):
            return OWN_CODE
        loaded, findings = load_version(name, files, load_kinds())
        if loaded is None:
            codes = ", ".join(sorted({finding.code for finding in findings if finding.is_error}))
            return f"the version of its channel cannot run here ({codes})"
        try:
            return compile_channel(loaded, load_steps())
        except ChannelError as error:
            return f"the version of its channel cannot run here ({error.finding.code})"


def _misses(queries: StoreQueries, channels: tuple[str, ...] | None) -> Misses:
    looking = _Looking(queries)
    found: dict[tuple[str, str, str], list[int]] = {}
    unread: dict[str, int] = {}
    looked_at, end, is_cut = 0, time.monotonic() + MOST_SECONDS, False
    for name in (None,) if channels is None else channels:
        held = queries.messages(
            channel=None if name is None else ChannelName(name), states=("held",), newest_first=False, bodies=True
        )
        for stored in held:
            looked_at += 1
            if looked_at > MOST_MESSAGES or time.monotonic() > end:
                is_cut = True
                break
            if all(finding.code != NO_ROW for finding in load_findings(stored.findings)):
                continue
            try:
                for table, key in dict.fromkeys(looking.missed(stored)):
                    found.setdefault((str(stored.channel), table, key), []).append(stored.seq)
            except _Unread as reason:
                unread[str(reason)] = unread.get(str(reason), 0) + 1
    ordered = sorted(found.items(), key=lambda item: (item[0][:2], -len(item[1]), item[0][2]))
    shown = [MissShown(channel=c, table=t, key=k, messages=seqs) for (c, t, k), seqs in ordered]
    return Misses(misses=shown, unread=unread, is_cut=is_cut)


async def misses(call: Call) -> Misses:
    """Codes are values of messages: that somebody looks is on record before they are given."""
    name = call.the_query(MissesQuery).channel
    allowed = call.who.channels("read")
    if name is not None:
        call.require("read", name)
        allowed = frozenset({name})
    channels = None if allowed is None else tuple(sorted(allowed))
    found = await call.search(_misses, call.api.queries, channels)
    seqs = sorted({MessageSeq(seq) for miss in found.misses for seq in miss.messages})
    record = call.api.control.put_on_record(call.by(scope="tables misses"), "read", messages=seqs)
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    return found


async def add(call: Call) -> RowAdded:
    """On record first; a row that is then refused is on record as asked for."""
    name, body = call.the_path(ChannelPath).channel, call.the_body(RowBody)
    path = _table(call.api.folder, name, body.table)
    by = call.by(body.reason, scope=" -> ".join(body.cells)[:4000])
    record = call.api.control.put_on_record(by, "table-row", about=[f"{name}/{body.table}"])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    async with call.api.files:
        try:
            line = await asyncio.to_thread(add_row, path, body.cells)
        except RowRefused as refused:
            said = f"{body.table} has mistakes: segmill check" if refused.is_of_the_file else refused.sentence
            raise Problem(409, "E485", said) from None
        except OSError as error:
            raise Problem(503, "E486", f"{body.table} cannot be written: {error.strerror}") from None
    return RowAdded(file=f"{CHANNELS}/{name}/{body.table}", line=line)


def _table(folder: Path, channel: str, table: str) -> Path:
    """The file. Only of the channel that the right is for: a link out of it is none of its tables."""
    root = (folder / CHANNELS / channel).resolve()
    path = (root / table).resolve()
    if not root.is_relative_to((folder / CHANNELS).resolve()) or not path.is_relative_to(root) or not path.is_file():
        raise not_there()
    return path
