"""XML of other people's programs as a small tree, read without trust.

No document type, so no entities but the five of XML and nothing that reaches out or grows; and bounds on bytes,
depth, elements and text (reliability.md SEC). `parse` raises XmlError and nothing else for what is in it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat


class XmlError(ValueError):
    """The text is not XML, or none that is read here. A sentence, with the line where there is one."""


@dataclass(slots=True, frozen=True)
class Bounds:
    """What is read at most. `most` says whose size the bounds are, for the sentence that refuses more."""

    size_bytes: int
    depth: int
    elements: int
    text_chars: int
    """Of one element; what is longer is cut."""
    most: str


@dataclass(slots=True)
class Element:
    """An element with its attributes, children and the text right below it."""

    tag: str
    attributes: Mapping[str, str]
    line: int
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def get(self, name: str) -> str:
        """An attribute without blanks around it, '' for none."""
        return self.attributes.get(name, "").strip()

    def all(self, *tags: str) -> Iterator["Element"]:
        return (child for child in self.children if child.tag in tags)

    def first(self, tag: str) -> "Element | None":
        return next(self.all(tag), None)


def parse(raw: bytes, bounds: Bounds) -> Element:
    """The tree of an XML text. Raises XmlError for what is not well-formed, too large, or has a DOCTYPE."""
    if len(raw) > bounds.size_bytes:
        raise XmlError(f"the file has {len(raw):,} bytes; {bounds.size_bytes:,} are read at most")
    parser = expat.ParserCreate(namespace_separator=" ")
    tree = _Tree(parser, bounds)
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise XmlError(f"line {error.lineno}: this is not XML: {expat.ErrorString(error.code)}") from None
    except (LookupError, ValueError) as error:
        if isinstance(error, XmlError):
            raise
        raise XmlError("its encoding is not known here; save it as UTF-8") from None
    assert tree.root is not None, "what is well-formed has a root"
    return tree.root


class _Tree:
    """Builds the tree as the parser goes, and refuses what could grow or reach out."""

    def __init__(self, parser: expat.XMLParserType, bounds: Bounds) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._pieces: list[list[str]] = []
        self._lengths: list[int] = []
        self._count = 0
        self._parser = parser
        self._bounds = bounds
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        raise XmlError(
            f"line {self._parser.CurrentLineNumber}: it has a DOCTYPE, which is not read (it can name other files and "
            "grow without end); delete the DOCTYPE and save it again"
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        line = self._parser.CurrentLineNumber
        bounds = self._bounds
        if len(self._open) >= bounds.depth or self._count > bounds.elements:
            raise XmlError(
                f"line {line}: it is larger than any {bounds.most}: {bounds.depth} levels, {bounds.elements} elements"
            )
        element = Element(tag.rpartition(" ")[2], attributes, line)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._pieces.append([])
        self._lengths.append(0)

    def _end(self, tag: str) -> None:
        element = self._open.pop()
        element.text = "".join(self._pieces.pop())[: self._bounds.text_chars]
        self._lengths.pop()

    def _text(self, text: str) -> None:
        if self._lengths[-1] < self._bounds.text_chars:
            self._pieces[-1].append(text)
            self._lengths[-1] += len(text)
