"""Settings of a channel's answers beside each other: what contradicts itself, and what is rarely meant."""

from collections.abc import Iterator, Mapping

from engine.config.channel import ChannelFile
from engine.config.finding import ConfigFinding, Position, at
from engine.config.listen import ListenMllp, is_loopback

Positions = Mapping[tuple[str | int, ...], Position]


def check_answers(file: ChannelFile, positions: Positions, shown: str) -> list[ConfigFinding]:
    """Findings about `ack`, `sequence` and the port's release. `shown` is how people call the file."""

    def place(*path: str) -> Position:
        for length in range(len(path), 0, -1):
            if (found := positions.get(path[:length])) is not None:
                return found
        return Position(shown, 1, 1)

    return [
        at(place(*path), code, message, hint)
        for path, code, message, hint in (*_apart(file), *_waiting(file), *_release(file.listen.mllp))
    ]


_Found = tuple[tuple[str, ...], str, str, str]


def _apart(file: ChannelFile) -> Iterator[_Found]:
    """Application acknowledgements that go elsewhere, or nowhere."""
    ack = file.ack
    if ack.app_ack == "connect-back" and ack.connect_back is None:
        hint = "add connect_back: {host: ..., port: ...}"
        yield ("ack", "app_ack"), "E147", "connect-back, and nothing says where to connect to", hint
    if ack.app_ack != "connect-back" and ack.connect_back is not None:
        yield ("ack", "connect_back"), "E147", "connect_back is used with app_ack: connect-back only", ""
    if ack.app_ack != "same" and ack.mode == "original":
        hint = "original mode has one answer, on the same connection; leave mode or app_ack out"
        yield ("ack", "app_ack"), "E147", f"app_ack: {ack.app_ack} has no meaning in original mode", hint
    if ack.connect_back is not None:
        to = ack.connect_back.options.model_dump(include={"host", "port"})
        if to.get("port") == file.listen.mllp.port and is_loopback(str(to.get("host"))):
            yield ("ack", "connect_back"), "W147", "acknowledgements go to this channel's own port", ""


def _waiting(file: ChannelFile) -> Iterator[_Found]:
    """Answers that wait for a destination's."""
    ack, to = file.ack, file.ack.when.destination
    if not to:
        for key in ("timeout", "on_timeout"):
            if key in ack.model_fields_set:
                yield ("ack", key), "E147", f"{key} is for when: delivered(x), and nothing is waited for here", ""
        return
    if to in file.destinations and to not in [str(route.to) for route in file.routes]:
        yield ("ack", "when"), "E147", f"no route goes to '{to}', so it never answers", "add a route to it"
    if ack.app_ack != "same":
        hint = "what a destination answers goes back on the sender's connection"
        yield ("ack", "app_ack"), "E147", f"app_ack: {ack.app_ack} does not go with when: delivered({to})", hint
    if file.sequence == "on":
        hint = "a message that waits for its answer would hold up all behind it"
        yield ("sequence",), "E147", f"sequence: on does not go with when: delivered({to})", hint
    if not file.duplicates.is_on:
        message = "a sender that is told of a time-out and sends again has its message delivered again"
        yield ("duplicates",), "W147", message, "give duplicates a window"


def _release(mllp: ListenMllp) -> Iterator[_Found]:
    if mllp.release == 1 and mllp.answers_committed == "require":
        yield ("listen", "mllp", "answers_committed"), "E147", "only MLLP Release 2 commits answers", "add release: 2"
    if mllp.answers_committed != "require":
        for key in ("commit_timeout", "commit_retries"):
            if key in mllp.model_fields_set:
                hint = "add release: 2 and answers_committed: require"
                yield ("listen", "mllp", key), "E147", f"{key} is for answers that must be committed", hint
