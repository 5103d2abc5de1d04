"""The steps of a stored message whose channel has a process of its own: run again on the bench, never in the engine.

For who may read, and where values are shown: the code is the site's, and what it says may hold anything. It has what
the bench gives to a text that is tried (ADR 45): no network, no file, no secret, little time. So nothing comes of it
but what is shown (ADR 57).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.adapters.api.entries import Call
from engine.adapters.api.problems import Problem
from engine.adapters.api.versions import Versions
from engine.adapters.console.bench_calls import asked, bench_of
from engine.adapters.console.flow import why_no_steps
from engine.config.files import CHANNEL_FILE, SUBSTITUTED_FILE
from engine.config.substitute import is_secret_reference
from engine.ports.bench import Source, Stepped
from engine.ports.clock import from_us
from engine.ports.store import StoredMessage, StoreQueries


@dataclass(slots=True, frozen=True)
class _Job:
    source: Source
    text: bytes = field(repr=False)


async def own_steps(call: Call, stored: StoredMessage) -> Stepped | str | None:
    """What the bench says of it, or why it says nothing. None: there is nothing that the bench were needed for."""
    job = await call.search(_job, call.api.queries, call.api.versions, stored)
    if job is None or stored.raw is None:
        return None
    try:
        bench = bench_of(call)
        return await asked(call, bench.stepped(job.source, job.text, stored.raw, from_us(stored.received_at_us)))
    except Problem as problem:  # the page has more to show than the steps
        return f"{problem.detail} ({problem.code})"


def _job(queries: StoreQueries, versions: Versions, stored: StoredMessage) -> _Job | None:
    channel = versions.get(queries, stored.channel, stored.version)
    if isinstance(channel, str) or not channel.isolated or why_no_steps(stored):
        return None
    files = queries.version_files(stored.version)
    if files is None or CHANNEL_FILE not in files:
        return None
    others = {path: content for path, content in files.items() if path not in (CHANNEL_FILE, SUBSTITUTED_FILE)}
    return _Job(Source(str(stored.channel), others, _known(files)), files[CHANNEL_FILE])


def _known(files: Mapping[str, bytes]) -> dict[str, str]:
    """What `${...}` stood for; of a secret the version has a hash, which is no value to run with."""
    recorded: dict[str, str] = json.loads(files.get(SUBSTITUTED_FILE, b"{}"))
    return {reference: value for reference, value in recorded.items() if not is_secret_reference(reference)}
