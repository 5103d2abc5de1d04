"""What messages are looked up by: `keys` of a site and of its channels."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from engine.config.finding import BadValue
from engine.config.types import PathText
from engine.hl7.search_keys import DEFAULT_KEYS, KeyReader, KeyValue
from engine.model.ids import ChannelName

KEY_PATTERN: Final = "^[a-z][a-z0-9_]{0,30}$"
FILTERS: Final = ("channel", "state", "since", "until", "type", "sender", "control", "text", "key")
"""What a search calls other things by."""
MOST_KEYS: Final = 16
MOST_PATHS: Final = 16


def _named(name: str) -> str:
    if not re.fullmatch(KEY_PATTERN, name):
        raise BadValue(f"'{name}' is no name for a key", "small letters, digits and _, such as mrn", code="E490")
    if name in FILTERS:
        raise BadValue(f"'{name}' means something else in a search", "choose another name", code="E490")
    return name


def _paths(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _few(value: Mapping[str, object]) -> Mapping[str, object]:
    if len(value) > MOST_KEYS:
        raise BadValue(f"are more than {MOST_KEYS} keys", "each costs every message a little", code="E490")
    return value


KeyPaths = Annotated[
    tuple[PathText, ...],
    BeforeValidator(_paths),
    Field(max_length=MOST_PATHS),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": "An HL7 path, such as PID-3.1"},
                {"type": "array", "items": {"type": "string"}, "maxItems": MOST_PATHS},
            ]
        }
    ),
]
"""Where a key's values stand; nothing: it is no key here."""

Keys = Annotated[
    dict[Annotated[str, AfterValidator(_named)], KeyPaths],
    AfterValidator(_few),
]


def declared(*said: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The keys that count where the site, then a channel, said these: the defaults, but for what they say of a name."""
    found = dict(DEFAULT_KEYS)
    for keys in said:
        found |= {name: tuple(str(path) for path in paths) for name, paths in keys.items()}
    return {name: paths for name, paths in found.items() if paths}


class DeclaredKeys:
    """The keys of all channels of a site, and how each channel's messages are read for them."""

    def __init__(
        self,
        site: Mapping[str, Sequence[str]],
        channels: Mapping[ChannelName, tuple[Mapping[str, Sequence[str]], str]],
    ) -> None:
        """`channels`: what each says of keys, and the codec its messages are read with where nothing else is known.
        All paths were checked."""
        self._default = KeyReader(declared(site))
        self._of = {
            name: KeyReader(declared(site, said), fallback=fallback) for name, (said, fallback) in channels.items()
        }

    def of(self, channel: ChannelName, raw: bytes) -> Sequence[KeyValue]:
        """As ports.search.KeysOf; a channel that is not in the files has the site's keys."""
        return self._of.get(channel, self._default).read(raw)

    @property
    def names(self) -> tuple[str, ...]:
        """Every key that some channel has, in order of name."""
        readers = (self._default, *self._of.values())
        return tuple(sorted({name for reader in readers for name in reader.names}))
