"""What the files of a site say, as the parts of the runtime want it."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from hashlib import blake2b
from pathlib import Path
from typing import cast

from engine.adapters.errors import ConfigError, TlsFilesError
from engine.adapters.tls import listen_context
from engine.adapters.waiting import WaitingSink
from engine.config.actions import ActionText
from engine.config.actions import Rules as RuleTexts
from engine.config.answers import ConnectBack
from engine.config.entries import DeliveryPolicy, Destination
from engine.config.expression import compile_value
from engine.config.hours import OpenHours, Timetable
from engine.config.isolate import Isolate, Workers
from engine.config.kinds import Kinds
from engine.config.listen import ListenMllp
from engine.config.settings import SiteSettings
from engine.config.site import LoadedChannel
from engine.model.envelope import Delivery, DraftDelivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName
from engine.pipeline.compile import CompiledChannel
from engine.pipeline.outputs import CannotRewrite
from engine.ports.clock import Clock, from_us
from engine.ports.meter import ChannelMeter, Meter
from engine.ports.sink import Sink
from engine.ports.store import LaneDepth, StoreQueries
from engine.runtime.channels import RunningChannel
from engine.runtime.circuit import Circuit
from engine.runtime.connection import Connection
from engine.runtime.endings import CannotTakeOver, LaneSettings, Redirecting
from engine.runtime.gate import Hours
from engine.runtime.lane import Lane
from engine.runtime.listener import ListenerSettings
from engine.runtime.policy import Action, Policy, Refusal, Rules, backoff
from engine.runtime.release2 import CommittingConnection, StrictConnection
from engine.runtime.retention import StepAges
from engine.runtime.tasks import describe
from engine.runtime.worker import WorkerLimits

log = logging.getLogger("segmill")

_NO_PORT = {
    EADDRINUSE: "another program has that port, and ss -ltnp shows which",
    EADDRNOTAVAIL: "ip address shows the addresses that this machine has",
    EACCES: "ports below 1024 need the capability CAP_NET_BIND_SERVICE",
}

MOST_SILENCES = 2
"""Where other keys can go on, so many in a row without an answer make a destination down."""


class StepTimer:
    """Step times to the meter, from the monotonic clock."""

    __slots__ = ("_meter", "clock")

    def __init__(self, clock: Clock, meter: ChannelMeter) -> None:
        self.clock = clock.monotonic
        self._meter = meter

    def step(self, label: str, seconds: float) -> None:
        """One step took so long."""
        self._meter.step(label, seconds)


def connections_possible() -> int:
    """How many connections leave enough descriptors for the store, the sinks and the admin port (reliability.md C8)."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return 1_000_000
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, soft * 9 // 10 - 64) if soft != resource.RLIM_INFINITY else 1_000_000


def in_words(error: OSError) -> str:
    """The system's sentence for it; asyncio's own adds the address, and a name that is not found has another."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def why_no_port(error: OSError) -> str:
    """Why an address cannot be listened on, and where to look."""
    advice = _NO_PORT.get(error.errno or 0, "")
    return f"{in_words(error)}; {advice}" if advice else in_words(error)


def policy_of(policy: DeliveryPolicy) -> Policy:
    """A destination's choices as its lane needs them."""
    retry = policy.retry
    return Policy(
        on_refused=_rules(policy.on_refused, "hold"),
        on_rejected=_rules(policy.on_rejected, "retry"),
        on_unanswered=_action(policy.on_unanswered),
        on_unreachable=_action(policy.on_unreachable),
        on_unsendable=_action(policy.on_unsendable),
        first_s=retry.first,
        most_s=retry.most,
        jitter=retry.jitter,
        most_attempts=retry.limit_attempts or 0,
        most_age_s=retry.limit_s or 0.0,
    )


def _action(text: ActionText) -> Action:
    return Action(
        cast(Refusal, text.kind),
        most_attempts=text.limit_attempts or 0,
        most_age_s=text.limit_s or 0.0,
        then=cast(Refusal, text.then),
        to=DestinationName(text.destination) if text.destination else None,
    )


def _rules(rules: RuleTexts, otherwise: Refusal) -> Rules:
    """`otherwise`: what the key says where nothing is written."""
    default = _action(rules.otherwise) if rules.otherwise is not None else Action(otherwise)
    return Rules(default, {code: _action(text) for code, text in rules.by_code.items()})


def timetable_of(hours: OpenHours | None, site_zone: str | None) -> Timetable | None:
    """When a destination is open, in its own time zone, the site's, or UTC."""
    return None if hours is None else Timetable(hours.hours, str(hours.zone or site_zone or "UTC"))


def open_sinks(
    kinds: Kinds,
    loaded: LoadedChannel,
    name: str,
    destination: Destination,
    clock: Clock,
    store: StoreQueries,
    turns: MutableMapping[str, asyncio.Lock],
    refused: Callable[[str], None] = lambda code: None,
    *,
    may_wait: bool = False,
) -> list[Sink]:
    """The sinks of a destination, one for each of its connections. One that `needs_store` may read the engine's.

    `turns`: of the lanes that write to one place in the store, by its name. `refused`: told of the code of each message
    that such a place refuses. `may_wait`: where TLS files cannot be used, send once they can be. Raises ConfigError.
    """
    kind = kinds.sinks[destination.sink]
    more = {"store": store, "turns": turns, "refused": refused} if getattr(kind, "needs_store", False) else {}

    def make() -> Sink:
        try:
            made: Sink = kind.open(  # type: ignore[attr-defined]  # the sinks' own side of the kind
                destination.options, folder=loaded.folder, lane=f"{loaded.name}/{name}", clock=clock, **more
            )
        except ConfigError:
            raise
        except Exception as error:
            # Somebody's plug-in: told like any other mistake in a channel, with the place and never the text.
            raise ConfigError(f"destination {name} cannot be set up: {describe(error)}") from error
        return made

    sinks: list[Sink] = []
    for _ in range(destination.policy.lanes):
        try:
            sinks.append(make())
        except TlsFilesError as error:
            if not may_wait:
                raise
            sinks.append(WaitingSink(make, str(error)))
    return sinks


def in_doubt(policy: DeliveryPolicy, sinks: Sequence[Sink]) -> int:
    """How many deliveries may have been sent and not recorded when the engine dies.

    Nothing is sent while `window` ends are not recorded, and each connection has one call's worth on its way. What is
    written with the record of its end is never in doubt.
    """
    if all(getattr(sink, "needs_store", False) for sink in sinks):
        return 0
    return policy.window - 1 + sum(sink.max_batch for sink in sinks)


def order_of(loaded: LoadedChannel, policy: DeliveryPolicy) -> str:
    """What makes the keys of a destination: the expression, and the tables that it looks into; '' for no keys."""
    if policy.order_by is None:
        return ""
    tables = compile_value(str(policy.order_by), tables=loaded.tables).tables
    return "; ".join([str(policy.order_by), *(f"{name} {blake2b(loaded.files[name]).hexdigest()}" for name in tables)])


def lane_settings(
    compiled: CompiledChannel,
    name: str,
    policy: DeliveryPolicy,
    site_zone: str | None,
    keyed_from: DeliveryId,
    now: Callable[[], CompiledChannel],
) -> LaneSettings:
    """A destination of a channel, as its lane needs it. `keyed_from`: as the store said of its order.

    `now`: the channel by the files that are in force when somebody asks.
    """
    return LaneSettings(
        compiled.name,
        DestinationName(name),
        policy_of(policy),
        policy.window,
        is_keyed=policy.order_by is not None,
        keyed_from=keyed_from,
        per_s=policy.rate or 0.0,
        table=timetable_of(policy.open, site_zone),
        redirected=redirecting(compiled, now),
    )


def guard(lane: Lane, clock: Clock) -> None:
    """One circuit for all connections of a destination, and its hours before it."""
    policy, table = lane.settings.policy, lane.settings.table

    def backoff_s(failures: int) -> float:
        return backoff(policy, failures, int.from_bytes(clock.random_bytes(2)) / 65536)

    circuit = Circuit(backoff_s, patience=MOST_SILENCES if lane.settings.is_keyed else 1)
    lane.guard(circuit if table is None else Hours(table, circuit, clock), circuit)


def offering(*running: Mapping[ChannelName, RunningChannel]) -> Callable[[Sequence[Delivery]], None]:
    """Gives deliveries that took over from others to their lanes, also in channels that are leaving."""

    def offer(deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            for channels in running:
                if (channel := channels.get(delivery.channel)) is not None:
                    channel.offer([delivery])

    return offer


def show_depths(depths: Sequence[LaneDepth], channels: Mapping[ChannelName, RunningChannel], meter: Meter) -> None:
    """How much waits, to the metrics."""
    for depth in depths:
        channel = channels.get(depth.channel)
        if channel is None:
            continue
        numbers = meter.lane(depth.channel, depth.destination)
        numbers.depth(depth.queued, depth.held, depth.oldest_us)
        lane = channel.lanes.get(depth.destination)
        if lane is not None and lane.settings.is_keyed:
            numbers.blocked_keys(depth.blocked)


def show_gone(
    before: frozenset[tuple[ChannelName, DestinationName]], channels: Iterable[RunningChannel], meter: Meter
) -> frozenset[tuple[ChannelName, DestinationName]]:
    """What a reload took away, to the metrics: nothing of it waits, is down or paused. Returns what there is now."""
    now = frozenset((channel.name, name) for channel in channels for name in (*channel.lanes, *channel.leaving))
    for channel, destination in before - now:
        numbers = meter.lane(channel, destination)
        numbers.depth(0, 0, 0)
        numbers.blocked_keys(0)
        numbers.connected(True)
        numbers.open(True)
        numbers.paused(False)
        numbers.stopped(False)
    for channel in {name for name, _ in before} - {name for name, _ in now}:
        meter.channel(channel).intake_paused(False)
    return now


def show_hours(channels: Mapping[ChannelName, RunningChannel], meter: Meter, clock: Clock) -> None:
    """Which destinations are open now, to the metrics."""
    now = from_us(clock.now_us())
    for channel in channels.values():
        for name, lane in channel.lanes.items():
            if lane.settings.table is not None:
                meter.lane(channel.name, name).open(lane.settings.table.is_open(now))


def redirecting(compiled: CompiledChannel, now: Callable[[], CompiledChannel]) -> Redirecting:
    """What a destination of this channel gets when it takes over from another.

    `now`: the channel by the files in force, which may have another order for the one that takes over.
    """

    def redirected(delivery: Delivery, to: DestinationName) -> DraftDelivery:
        try:
            made = compiled.for_another(delivery.body, delivery.destination, to)
        except CannotRewrite as error:
            raise CannotTakeOver(error.reason) from None
        in_force = now()
        return made if in_force is compiled else in_force.keyed_now(made, delivery.body)

    return redirected


def worker_limits(workers: Workers, own: Isolate | None = None) -> WorkerLimits:
    """What one message may take in a process of its channel's: as the site says, but for what the channel does."""
    return WorkerLimits(workers.deadline, workers.timeout, workers.memory, workers.output).but(own)


def back_to_the_sender(connect_back: ConnectBack) -> Destination:
    """Where application acknowledgements go, as a destination. Their MSH-15 says whether one is answered."""
    options = connect_back.options.model_copy(update={"answer": "as-asked"})
    return Destination("mllp", options, connect_back.policy, "", 0, 0)


def listener_settings(mllp: ListenMllp, folder: Path, name: str) -> ListenerSettings:
    """A port's settings. Raises ConfigError for TLS files that cannot be used."""
    tls = listen_context(mllp.tls, folder) if mllp.tls is not None else None
    return ListenerSettings(
        name=name,
        host=mllp.host,
        port=mllp.port,
        allow=mllp.allow,
        tls=tls,
        client_names=frozenset(name.lower() for name in mllp.tls.client_names) if mllp.tls is not None else frozenset(),
        max_message_bytes=mllp.max_message,
        max_connections=mllp.max_connections,
        idle_timeout_s=mllp.idle_timeout or 0.0,
        frame_timeout_s=mllp.frame_timeout,
        trailing_cr_s=mllp.trailing_cr,
        lenient_fs=mllp.lenient_fs,
        connection=connection_kind(mllp),
        commit_timeout_s=mllp.commit_timeout,
        commit_retries=mllp.commit_retries,
    )


def connection_kind(mllp: ListenMllp) -> type[Connection]:
    """By the port's release of MLLP, and whether its senders must commit our answers."""
    if mllp.release == 1:
        return Connection
    return StrictConnection if mllp.answers_committed == "require" else CommittingConnection


def step_ages(settings: SiteSettings) -> StepAges:
    """How long steps stay on worklists."""
    kept = settings.retention.worklist
    return StepAges(kept.ended, kept.open)


async def within(work: Coroutine[object, object, None], seconds: float, what: str) -> None:
    """Wait for it, and go on without it after so long, with a line in the log."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.warning("stop: not waited for any longer: %s", what)
