"""What the runtime counts. The hot path only adds to plain numbers; rendering is somebody else's thread."""

from typing import Protocol


class ChannelMeter(Protocol):
    """Counters of one channel. Outcomes: processed, filtered, held, rejected, waiting, duplicate, unreadable,
    refused.
    """

    def received(self, size_bytes: int, at_s: float) -> None: ...

    def outcome(self, outcome: str) -> None: ...

    def acknowledged(self, ack_code: str, seconds: float) -> None: ...

    def step(self, step: str, seconds: float) -> None: ...

    def finding(self, code: str) -> None: ...

    def breach(self, rule: str, severity: str) -> None:
        """One more breach of a rule of the standard or of a profile: `rule` comes from those, never from a message."""
        ...

    def drift(self, sender: str, place: str, count: int) -> None:
        """How many senders drift at a place now; `sender` is one that the profile names, or `other`."""
        ...

    def worker(self, event: str) -> None:
        """What happened to the channel's process: started, not-started, late (it was ended) or ended (by itself)."""
        ...

    def charset(self, evidence: str) -> None:
        """How a message beyond plain ASCII was read: declared, broken, utf-8, windows-1252 or fallback."""
        ...

    def feeds_silent(self, count: int) -> None:
        """How many of its feeds are silent that usually are not."""
        ...

    def intake_paused(self, paused: bool) -> None:
        """Whether a person has paused the channel's intake."""
        ...


class LaneMeter(Protocol):
    """Counters of one destination. Outcomes: delivered, refused, unreachable, unanswered, unsendable."""

    def attempt(self, outcome: str, seconds: float) -> None: ...

    def depth(self, queued: int, held: int, oldest_us: int) -> None: ...

    def blocked_keys(self, count: int) -> None:
        """How many keys are held up by a delivery that waits for its next attempt."""
        ...

    def connected(self, up: bool) -> None:
        """False while the destination is down."""
        ...

    def open(self, is_open: bool) -> None:
        """False outside of the hours that the destination has."""
        ...

    def stopped(self, stopped: bool) -> None:
        """Whether its lane stands still at a message until a person says how it goes on."""
        ...

    def failed(self) -> None:
        """The destination's lane failed, by a defect of the engine."""
        ...

    def redirected(self) -> None:
        """One more message that another destination takes over."""
        ...

    def paused(self, paused: bool) -> None:
        """Whether a person has paused the destination."""
        ...


class Meter(Protocol):
    """Gives the parts their counters; label values come from the configuration only."""

    def channel(self, channel: str) -> ChannelMeter: ...

    def lane(self, channel: str, destination: str) -> LaneMeter: ...

    def commit(self, seconds: float, size: int) -> None: ...

    def pruned(self, bodies: int, messages: int) -> None: ...

    def retention_paused(self, paused: bool) -> None: ...

    def retention_pass(self, at_s: float) -> None:
        """All that was old enough was forgotten at `at_s`, in seconds since 1970."""
        ...

    def disk(self, free_bytes: int, store_bytes: int | None) -> None:
        """What is free on the store's disk, and what the store's files hold, None where that is not known."""
        ...

    def connections(self, listener: str, open_count: int) -> None: ...

    def connection_event(self, listener: str, event: str) -> None:
        """`event` is one of the closed set that the listener and the decoder of blocks name."""
        ...

    def source_files(self, listener: str, waiting: int, failed: int) -> None:
        """How many files a source has yet to take, and how many it has set aside."""
        ...

    def ignored(self, listener: str, size_bytes: int, empty_blocks: int) -> None:
        """So many bytes outside blocks, and blocks without content, were passed over since the last call."""
        ...
