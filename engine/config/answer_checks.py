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

    checks = (_apart(file), _waiting(file), _in_parts(file), _heard(file), _release(file.listen.mllp))
    return [at(place(*path), code, message, hint) for found in checks for path, code, message, hint in found]


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
        mllp = file.listen.mllp
        if mllp is not None and to.get("port") == mllp.port and is_loopback(str(to.get("host"))):
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


def _in_parts(file: ChannelFile) -> Iterator[_Found]:
    """Messages that come in fragments, which have answers of their own."""
    if file.fragments.dsc is None:
        return
    place = ("fragments", "dsc")
    if to := file.ack.when.destination:
        hint = "the fragments are accepted one by one, and the message's own answer is ours"
        yield place, "E147", f"joined messages do not wait for an answer: when: delivered({to})", hint
    if file.sequence == "on":
        yield place, "E147", "sequence: on does not go with messages in fragments", "leave one of them out"
    if not file.duplicates.is_on:
        message = "a fragment that is sent again cannot be told from a new one, and is refused"
        yield ("duplicates",), "W147", message, "give duplicates a window"


def _heard(file: ChannelFile) -> Iterator[_Found]:
    """Answers that a sender must hear, where it hears none, or not for so long."""
    listen, to = file.listen, file.ack.when.destination
    within = listen.options.answered_within
    if not within:
        if to:
            hint = "its fate is known when the message is stored; take mllp or http where the answer matters"
            message = f"nobody hears what {to} answers: senders of a {listen.source} source get no acknowledgment"
            yield ("ack", "when"), "E147", message, hint
        if file.sequence == "on":
            message = f"senders of a {listen.source} source do not hear which number is due"
            yield ("sequence",), "E147", message, "sequence: on is for mllp and http"
    elif to and within <= file.ack.timeout:
        takes = f"when: delivered({to}) may take {file.ack.timeout:g} s"
        message = f"senders wait {within:g} s for their answer, and {takes}"
        hint = "make the source's answer_timeout longer, or ack: {timeout: ...} shorter"
        yield ("ack", "timeout"), "E147", message, hint


def _release(mllp: ListenMllp | None) -> Iterator[_Found]:
    if mllp is None:
        return
    if mllp.release == 1 and mllp.answers_committed == "require":
        yield ("listen", "mllp", "answers_committed"), "E147", "only MLLP Release 2 commits answers", "add release: 2"
    if mllp.answers_committed != "require":
        for key in ("commit_timeout", "commit_retries"):
            if key in mllp.model_fields_set:
                hint = "add release: 2 and answers_committed: require"
                yield ("listen", "mllp", key), "E147", f"{key} is for answers that must be committed", hint
