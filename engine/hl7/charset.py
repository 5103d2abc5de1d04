"""Which characters the bytes of a message are, by evidence (spec items 57 to 63).

What is believed, in this order: pure ASCII needs no proof; the character set of MSH-18, if the bytes
are valid in it, except that valid multi-byte UTF-8 beats an empty or a single-byte declaration; then
the fallback. Undecodable bytes become lone surrogates (PEP 383), so that they leave as they came.

HL7 v2.5.1 section 2.15.9.18 (MSH-18), table 0211.
"""

import codecs
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

from engine.hl7 import iso2022
from engine.hl7.errors import Notice

Evidence = Literal["ascii", "declared", "utf-8 found", "windows-1252 found", "fallback"]

KEEP_BYTES = "surrogateescape"


class Charset(NamedTuple):
    """How a message's bytes were read. `declared` is MSH-18 as it stands (may be '').

    `codec` is one of Python's, or of `engine.hl7.iso2022`; `text_of`, `decoded` and `encoded` know both.
    """

    codec: str
    declared: str
    evidence: Evidence


_LARGE_BYTES = 1 << 20
_UTF_8 = ("utf_8",)
_JAPANESE = ("iso2022_jp", "iso2022_jp_2", "iso2022_jp_ext")
_LATIN_1 = ("iso8859_1",)

_CODECS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ASCII": ("ascii",),
        "ISOIR6": ("ascii",),
        "USASCII": ("ascii",),
        **{f"8859/{n}": (f"iso8859_{n}",) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
        **{f"ISO8859{n}": (f"iso8859_{n}",) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
        "LATIN1": _LATIN_1,
        "CP1252": ("cp1252",),
        "WINDOWS1252": ("cp1252",),
        "UNICODEUTF8": _UTF_8,
        "UTF8": _UTF_8,
        # Real UTF-16 and UTF-32 hold the bytes of VT, FS and CR and cannot come over MLLP:
        # who declares them there sends UTF-8.
        "UNICODE": _UTF_8,
        "UNICODEUTF16": _UTF_8,
        "UNICODEUTF32": _UTF_8,
        "ISOIR13": ("shift_jis", "cp932"),
        "ISOIR14": ("shift_jis", "cp932"),
        "SHIFTJIS": ("shift_jis", "cp932"),
        "ISOIR87": _JAPANESE,
        "ISOIR159": ("iso2022_jp_1", *_JAPANESE),
        "JAS2020": ("iso2022_jp_1", *_JAPANESE),
        "JISX0202": ("iso2022_jp_1", *_JAPANESE),
        "ISO2022JP": _JAPANESE,
        "GB180302000": ("gb18030",),
        "GB18030": ("gb18030",),
        "GBK": ("gb18030",),
        "GB2312": ("gb18030",),
        "BIG5": ("big5", "cp950", "big5hkscs"),
        "KSX1001": ("euc_kr", "cp949"),
        "EUCKR": ("euc_kr", "cp949"),
    }
)

_SINGLE_BYTE = re.compile(r"ascii|iso8859_\d+|cp125\d|cp874|koi8_[ru]|mac_\w+|cp4\d\d|cp8[56]\d")
_C1 = re.compile(rb"[\x80-\x9f]")
_SWITCH = re.compile(rb"[CM]2[0-9A-Fa-f]{3}(?:[0-9A-Fa-f]{2})?[^0-9A-Za-z]")
_SURROGATE = re.compile("[\udc80-\udcff]+")
_BEYOND_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]")
_SQUEEZE = str.maketrans("", "", " _-")


def codecs_of(name: str) -> tuple[str, ...]:
    """The Python codecs to try, best first, for a name of table 0211 or one seen in its place; () if unknown."""
    return _CODECS.get(name.upper().translate(_SQUEEZE), ())


def codec_named(name: str) -> str | None:
    """The codec for a name of table 0211 or for Python's own name of one; None if there is none that fits HL7."""
    if found := codecs_of(name):
        return found[0]
    try:
        info = codecs.lookup(name)
        return info.name if "|^~\\&#".encode(info.name) == b"|^~\\&#" else None
    except (LookupError, UnicodeError, TypeError, ValueError):
        return None


def is_transparent(codec: str) -> bool:
    """Whether decoding with surrogateescape and encoding again gives the same bytes, whatever they are.

    True for ASCII, UTF-8 and the single-byte sets. The others may write one character in several ways.
    """
    return codec in ("ascii", "utf_8", "utf-8") or _SINGLE_BYTE.fullmatch(codec.replace("-", "_")) is not None


@lru_cache(256)  # senders declare one or two
def declared_codecs(declared: str, repetition: str) -> tuple[str, ...] | None:
    """What MSH-18 says: codecs to try, () when it is empty or ASCII, None when its name is unknown.

    The first repetition is the message's charset. When it is empty, ASCII or JIS X 0201 and a later one is
    Japanese (`~ISO IR87`), the text switches by ISO 2022 (spec items 57 and 58).
    """
    names = [n.strip() for n in declared.split(repetition or "\r")] if declared else [""]
    first = codecs_of(names[0]) if names[0] else ()
    if first in ((), ("ascii",)) or first[0] == "shift_jis":
        japanese = [found for name in names[1:] if (found := codecs_of(name)) and found[0].startswith("iso2022")]
        if japanese:
            # JIS X 0212 wherever it is named: its codec has all that the other's has.
            return max(japanese, key=len) + tuple(c for c in first if c != "ascii")
    if names[0] and not first:
        return None
    return () if first == ("ascii",) else first


@lru_cache(256)
def switching_codec(declared: str, repetition: str) -> str | None:
    """The codec for text that changes, by ISO 2022, between the sets of MSH-18; None where it names no two that can.

    ISO IR14 and ISO IR13, both of JIS X 0201, differ in what lies above ASCII only, and there IR14 has nothing.
    """
    names = [n.upper().translate(_SQUEEZE) for n in declared.split(repetition or "\r")] if declared else []
    plain = {"ASCII": "", "ISOIR6": "", "USASCII": "", "ISOIR14": "ISOIR13", "EUCKR": "KSX1001", "JAS2020": "ISOIR87"}
    return iso2022.codec_of([plain.get(name, name.replace("ISO8859", "8859/")) for name in names])


def decide(body: bytes, declared: str, repetition: str, fallback: str) -> tuple[Charset, tuple[Notice, ...]]:
    """The charset of `body`, whose MSH-18 is `declared`, and what was odd about that.

    `fallback` is a Python codec or a name of table 0211; one that is neither counts as windows-1252.
    """
    candidates = declared_codecs(declared, repetition)
    notices: tuple[Notice, ...] = ()
    if candidates is None:
        notices = (Notice("W305", "MSH-18 names no character set that can be read here", "MSH-18", "103"),)
    switching: str | None = None
    if b"\x1b" in body:
        switching = switching_codec(declared, repetition)
        needs_no_proof = not (candidates or switching) and body.isascii()
    else:
        needs_no_proof = body.isascii()
    if needs_no_proof:
        codec = candidates[0] if candidates else "ascii" if candidates is not None else _fallback(fallback)
        return Charset(codec, declared, "ascii"), notices
    if switching is not None:
        # Python's own know the Japanese sets best; what does not switch at all comes last.
        known = [codec for codec in candidates or () if codec.startswith("iso2022")]
        candidates = (*known, switching, *(codec for codec in candidates or () if codec not in known))
    if not candidates:
        charset, found = _undeclared(body, declared, repetition, fallback)
        return charset, notices or found
    if is_transparent(candidates[0]) and candidates != _UTF_8 and _is_valid(body, "utf_8"):
        notice = Notice("W302", "MSH-18 declares another character set, but the text is valid UTF-8", "MSH-18")
        return Charset("utf_8", declared, "utf-8 found"), (notice,)
    if candidates == _LATIN_1 and _C1.search(body):
        notice = Notice("W307", "MSH-18 declares 8859/1, but the text holds windows-1252 characters", "MSH-18")
        return Charset("cp1252", declared, "windows-1252 found"), (notice,)
    for codec in candidates:
        if _is_valid(body, codec):
            return Charset(codec, declared, "declared"), ()
    return _broken(body, declared, candidates[0], fallback)


def decoded(body: bytes, codec: str, errors: str = "strict") -> str:
    """`body.decode` for any codec that `Charset` names. Raises UnicodeDecodeError."""
    # Of all names of codecs only those of `iso2022` hold a colon.
    return iso2022.decode(body, codec, errors) if ":" in codec else body.decode(codec, errors)


def encoded(text: str, codec: str, errors: str = "strict") -> bytes:
    """`text.encode` for any codec that `Charset` names. Raises UnicodeEncodeError, which holds the text."""
    return iso2022.encode(text, codec, errors) if ":" in codec else text.encode(codec, errors)


def text_of(body: bytes, codec: str) -> str:
    """`body` as text; bytes that are not valid in `codec` become lone surrogates. Never raises for a known codec."""
    try:
        return decoded(body, codec, KEEP_BYTES)
    except UnicodeDecodeError:
        # Only bytes from 0x80 can be kept that way. In the 7-bit ISO 2022 sets a broken text keeps its shifts in sight.
        return body.decode("ascii", KEEP_BYTES)


def bytes_of(text: str, codec: str) -> bytes:
    """What `text_of` gave, or a part of it, as the bytes it came from. Never raises: what has none becomes `?`."""
    try:
        return encoded(text, codec, KEEP_BYTES)
    except UnicodeEncodeError:
        pass
    try:
        # Behind an escape that they do not know, the 7-bit ISO 2022 sets pass on single bytes as they are.
        return text.encode("latin-1", KEEP_BYTES)
    except UnicodeEncodeError:
        return text.encode("ascii", "replace")


def _undeclared(body: bytes, declared: str, repetition: str, fallback: str) -> tuple[Charset, tuple[Notice, ...]]:
    if _is_valid(body, "utf_8"):
        notice = Notice("W301", "MSH-18 declares no character set beyond ASCII, the text is valid UTF-8", "MSH-18")
        return Charset("utf_8", declared, "utf-8 found"), (notice,)
    if switching_codec(declared, repetition) is not None and _SWITCH.search(body):
        # `\C2D46\`: what lies beyond ASCII has its meaning from the escapes around it, and is read with them only.
        return Charset("iso8859_1", declared, "declared"), ()
    codec = _fallback(fallback)
    text = f"MSH-18 declares no character set beyond ASCII, the text was read as {codec}"
    notices = (Notice("W306", text, "MSH-18", "103"),)
    return Charset(codec, declared, "fallback"), notices


def _broken(body: bytes, declared: str, codec: str, fallback: str) -> tuple[Charset, tuple[Notice, ...]]:
    """Not valid as declared. One cut character must not turn all the others into nonsense, so the
    declaration stands while at least as many characters agree with it as bytes disagree."""
    text = text_of(body, codec)
    bad = sum(len(run) for run in _SURROGATE.findall(text))
    if bad <= len(_BEYOND_ASCII.findall(text)):
        notice = Notice("W304", f"not all bytes are valid {codec}; the others are kept as they are", "MSH-18", "103")
        return Charset(codec, declared, "declared"), (notice,)
    if codec != "utf_8" and _is_valid(body, "utf_8"):
        notice = Notice("W302", "MSH-18 declares another character set, but the text is valid UTF-8", "MSH-18")
        return Charset("utf_8", declared, "utf-8 found"), (notice,)
    used = _fallback(fallback)
    notice = Notice("W303", f"the text is not valid {codec} as MSH-18 declares and was read as {used}", "MSH-18", "103")
    return Charset(used, declared, "fallback"), (notice,)


def _fallback(name: str) -> str:
    return codec_named(name) or "cp1252"


def _is_valid(body: bytes, codec: str) -> bool:
    try:
        if len(body) >= _LARGE_BYTES and is_transparent(codec):
            # Piece by piece: the text of a large body is not wanted here, and may take four times its size.
            decoder = codecs.getincrementaldecoder(codec)("strict")
            view = memoryview(body)
            for at in range(0, len(body), _LARGE_BYTES):
                decoder.decode(view[at : at + _LARGE_BYTES])
            decoder.decode(b"", final=True)
        else:
            decoded(body, codec)
    except UnicodeDecodeError:
        return False
    return True
