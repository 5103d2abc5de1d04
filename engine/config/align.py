"""Which character of a YAML file each character of a scalar came from.

An expression's error has a column in the text YAML made of a scalar; people need the column in the
file, past quotes, escapes, folded lines and block indentation.
"""

_SIMPLE_ESCAPE_LENGTH = {"x": 4, "u": 6, "U": 10}
_BREAKS = "\n\r\x85\u2028\u2029"
_BLANKS = " \t"


def source_offsets(source: str, start: int, end: int, text: str, style: str) -> list[int]:
    """For every character of `text`, its index in `source`; [] where they cannot be brought together."""
    if style in ("|", ">"):
        return _block(source, start, end, text)
    if style:
        return _flow(source, start + 1, end - 1, text, style)
    return _flow(source, start, end, text, "")


def _flow(source: str, start: int, end: int, text: str, quote: str) -> list[int]:
    """Plain and quoted scalars: quotes doubled or escaped, line breaks folded."""
    offsets: list[int] = []
    at = start
    while at < end and len(offsets) < len(text):
        char = source[at]
        folded = at
        while folded < end and source[folded] in _BLANKS:
            folded += 1
        if folded < end and source[folded] in _BREAKS:
            after, breaks = _skip_breaks(source, folded, end)
            offsets.extend([folded] * max(1, breaks - 1))
            at = after
        elif quote == "'" and char == "'":
            offsets.append(at)
            at += 2
        elif quote == '"' and char == "\\" and at + 1 < end:
            if source[at + 1] in _BREAKS:
                at, _ = _skip_breaks(source, at + 1, end)
            else:
                offsets.append(at)
                at += _SIMPLE_ESCAPE_LENGTH.get(source[at + 1], 2)
        else:
            offsets.append(at)
            at += 1
    return offsets if len(offsets) == len(text) else []


def _skip_breaks(source: str, at: int, end: int) -> tuple[int, int]:
    """Past line breaks and the blanks between and after them: (index, number of breaks)."""
    breaks = 0
    while at < end and (source[at] in _BREAKS or source[at] in _BLANKS):
        if source[at] in _BREAKS:
            breaks += 1
            at += 2 if source[at : at + 2] == "\r\n" else 1
        else:
            at += 1
    return at, breaks


def _block(source: str, start: int, end: int, text: str) -> list[int]:
    """Literal and folded blocks: indentation is skipped, and what is not blank is found in order."""
    at = start
    while at < end and source[at] not in _BREAKS:
        at += 1
    offsets: list[int] = []
    for char in text:
        if char in _BREAKS or char in _BLANKS:
            offsets.append(min(at, end - 1))
            if at < end and source[at] == char and char in _BLANKS:
                at += 1
            continue
        while at < end and source[at] != char and (source[at] in _BREAKS or source[at] in _BLANKS):
            at += 1
        if at >= end or source[at] != char:
            return []
        offsets.append(at)
        at += 1
    return offsets
