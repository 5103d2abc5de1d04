"""Code tables: which codes the held messages wait for, and rows for them.

To let go on what waited, an order `release` names the messages that the list has, after a reload.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import Call
from engine.adapters.api.missed import look
from engine.adapters.api.models import ChannelPath, Misses, MissesQuery, MissShown, RowAdded, RowBody
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.table_files import RowRefused, add_row
from engine.config.site import CHANNELS
from engine.model.ids import MessageSeq


async def misses(call: Call) -> Misses:
    """Codes are values of messages: that somebody looks is on record before they are given."""
    name = call.the_query(MissesQuery).channel
    allowed = call.who.channels("read")
    if name is not None:
        call.require("read", name)
        allowed = frozenset({name})
    channels = None if allowed is None else tuple(sorted(allowed))
    looked = await call.search(look, call.api.queries, channels)
    await note_misses(call, sorted(looked.misses.waits_for))
    return Misses(
        misses=[
            MissShown(channel=one.channel, table=one.table, key=one.key, messages=seqs)
            for one, seqs in looked.misses.ordered
        ],
        unread={why: len(seqs) for why, seqs in looked.misses.unread.items()},
        is_cut=looked.is_cut,
    )


async def note_misses(call: Call, seqs: Sequence[int]) -> None:
    """That somebody looks at the codes of these messages."""
    record = call.api.control.put_on_record(
        call.by(scope="tables misses"), "read", messages=[MessageSeq(seq) for seq in seqs]
    )
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)


async def add(call: Call) -> RowAdded:
    """On record first; a row that is then refused is on record as asked for."""
    body = call.the_body(RowBody)
    return await add_row_to(call, call.the_path(ChannelPath).channel, body.table, body.cells, body.reason)


async def add_row_to(call: Call, channel: str, table: str, cells: Sequence[str], reason: str) -> RowAdded:
    """Write it into the site's file. Raises Problem where the file is left as it was."""
    path = table_path(call.api.folder, channel, table)
    by = call.by(reason, scope=" -> ".join(cells)[:4000])
    record = call.api.control.put_on_record(by, "table-row", about=[f"{channel}/{table}"])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    async with call.api.files:
        try:
            line = await asyncio.to_thread(add_row, path, cells)
        except RowRefused as refused:
            said = f"{table} has mistakes: segmill check" if refused.is_of_the_file else refused.sentence
            raise Problem(409, "E485", said) from None
        except OSError as error:
            raise Problem(503, "E486", f"{table} cannot be written: {error.strerror}") from None
    return RowAdded(file=f"{CHANNELS}/{channel}/{table}", line=line)


def table_path(folder: Path, channel: str, table: str) -> Path:
    """The file. Only of the channel that the right is for: a link out of it is none of its tables."""
    root = (folder / CHANNELS / channel).resolve()
    path = (root / table).resolve()
    if not root.is_relative_to((folder / CHANNELS).resolve()) or not path.is_relative_to(root) or not path.is_file():
        raise not_there()
    return path
