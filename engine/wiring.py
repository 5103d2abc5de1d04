"""What the files of a site say, as the parts of the runtime want it."""

import os
from pathlib import Path

from engine.adapters.tls import listen_context
from engine.config.answers import ConnectBack
from engine.config.entries import DeliveryPolicy, Destination
from engine.config.listen import ListenMllp
from engine.ports.clock import Clock
from engine.ports.meter import ChannelMeter
from engine.runtime.connection import Connection
from engine.runtime.listener import ListenerSettings
from engine.runtime.policy import Policy
from engine.runtime.release2 import CommittingConnection, StrictConnection


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
    """How many connections leave enough file descriptors for the store, the sinks and a shell (reliability.md C8)."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return 1_000_000
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, soft * 9 // 10 - 32) if soft != resource.RLIM_INFINITY else 1_000_000


def in_words(error: OSError) -> str:
    """The system's sentence for it; asyncio's own adds the address, and a name that is not found has another."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def policy_of(policy: DeliveryPolicy) -> Policy:
    """A destination's choices as its lane needs them."""
    retry = policy.retry
    return Policy(
        on_refused=policy.on_refused,
        on_rejected=policy.on_rejected,
        on_unanswered=policy.on_unanswered,
        first_s=retry.first,
        most_s=retry.most,
        jitter=retry.jitter,
        most_attempts=retry.limit_attempts or 0,
        most_age_s=retry.limit_s or 0.0,
    )


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
