"""The bytes of segments' texts that came from another form, in the character set that their MSH-18 names."""

from collections.abc import Sequence

from engine.hl7 import iso2022
from engine.hl7.charset import codec_named, declared_codecs, switching_codec
from engine.hl7.convert.errors import ConversionError
from engine.hl7.errors import UnencodableText
from engine.hl7.output import encode_segments


def known_codec(name: str) -> str | None:
    """The codec of that name, as `Message.codec` gives it or as people write it; None for none that fits HL7."""
    if not name.startswith(iso2022.PREFIX):
        return codec_named(name)
    return iso2022.codec_of(name.removeprefix(iso2022.PREFIX).split(","))


def declared_bytes(texts: Sequence[str], declared: str, field: str, repetition: str) -> bytes:
    """The segments in what MSH-18 declares, UTF-8 where it names nothing that can be written (item 59).

    Several sets are switched between only where the first is not enough. Raises ConversionError with the place.
    """
    candidates = declared_codecs(declared, repetition)
    codec = candidates[0] if candidates else "utf_8"
    try:
        return encode_segments(texts, None, codec, field, transcoded=True)
    except UnencodableText as error:
        switching = switching_codec(declared, repetition)
        if switching is not None:
            try:
                return encode_segments(texts, None, switching, field, transcoded=True)
            except UnencodableText:
                pass  # the first reason says it better
        raise ConversionError(error.reason, error.location) from None


def bytes_in(texts: Sequence[str], originals: Sequence[bytes | None], codec: str, field: str) -> bytes:
    """The segments in a codec, `originals` as they are. Raises ConversionError with the place."""
    try:
        return encode_segments(texts, originals, codec, field, transcoded=False)
    except UnencodableText as error:
        raise ConversionError(error.reason, error.location) from None
