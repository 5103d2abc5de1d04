"""The documentation that ships with the engine, as pages: for sites without internet, a click from what it is about."""

import posixpath
import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.problems import not_there
from engine.adapters.console.rendering import page
from engine.config.codes import CODES
from engine.docs.topics import Topic, search, topics

MOST_HITS: Final = 50


class DocsQuery(ApiModel):
    q: Annotated[str, StringConstraints(max_length=200)] = ""


class TopicPath(ApiModel):
    topic: Annotated[str, StringConstraints(pattern=r"^(adr/)?[A-Za-z0-9-]{1,60}$")]


class CodePath(ApiModel):
    code: Annotated[str, StringConstraints(pattern=r"^[EWI][0-9]{3}$")]


@cache
def _topics() -> dict[str, Topic]:
    """They do not change while the engine runs."""
    return {topic.name: topic for topic in topics()}


async def index(call: Call) -> Response:
    """Every page, or where some words stand."""
    words = call.the_query(DocsQuery).q.split()
    hits = search(list(_topics().values()), words) if words else []
    found = [
        {
            "to": f"/docs/{hit.topic.name}#{anchor(hit.section.title)}",
            "title": hit.section.title,
            "topic": hit.topic.title,
            "excerpt": hit.excerpt,
        }
        for hit in hits[:MOST_HITS]
    ]
    context: dict[str, Any] = {
        "words": " ".join(words),
        "found": found,
        "text": rendered(_topics()["README"], is_titled=False),
    }
    return page(call, "docs.html", title="Documentation", help="console#documentation", **context)


async def topic(call: Call) -> Response:
    """One page."""
    found = _topics().get(call.the_path(TopicPath).topic)
    if found is None:
        raise not_there()
    sections = [(one.title, anchor(one.title)) for one in found.sections[1:] if one.level == 2]
    context: dict[str, Any] = {"text": rendered(found), "sections": sections}
    return page(call, "doc.html", title=found.title, help="console#documentation", **context)


async def code(call: Call) -> Response:
    """What `segmill explain` says of a code."""
    named = call.the_path(CodePath).code
    if named not in CODES:
        raise not_there()
    return page(call, "code.html", title=named, help="console#documentation", story=CODES[named])


@cache
def rendered(found: Topic, *, is_titled: bool = True) -> Markup:
    """Its HTML. The text is ours, and what looks like HTML in it is shown and not taken for any.

    Not `is_titled`: without its first heading.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _block)
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", _table_close)
    tokens = markdown.parse(found.text)
    _prepare(tokens, "adr/" if found.is_decision else "")
    if not is_titled:
        tokens = tokens[3:]  # a heading opens, has its text, and closes
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 - no HTML of others is in it


def _prepare(tokens: list[Token], folder: str) -> None:
    """Anchors at headings, links to pages of ours, and nothing in `style`, which the security policy forbids."""
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            text = tokens[at + 1].content
            token.attrSet("id", anchor(_plain(text)))
        if style := token.attrs.pop("style", None):
            token.attrSet("class", "number" if "right" in str(style) else "")
        for inside in token.children or ():
            if inside.type == "link_open":
                _lead(inside, folder)


def _block(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """A block of code: it may be wider than the page, and who has no mouse moves in it by keys."""
    return str(Markup('<pre tabindex="0"><code>{}</code></pre>\n').format(tokens[at].content))


def _table_open(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    return '<div class="scroll" tabindex="0"><table>\n'


def _table_close(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    return "</table></div>\n"


def _lead(link: Token, folder: str) -> None:
    """A page of ours has another address here; a file beside the documentation has none."""
    href = str(link.attrs.pop("href", ""))
    name, mark, place = href.partition("#")
    if "://" in href or not name:
        link.attrs["href"] = href
        return
    path = posixpath.normpath(folder + name)
    if path.endswith(".md") and not path.startswith("../"):
        link.attrs["href"] = f"/docs/{path.removesuffix('.md')}{mark}{place}"


def _plain(text: str) -> str:
    return re.sub(r"`|\*\*|\[([^\]]*)\]\([^)]*\)", lambda found: found[1] or "", text)


def anchor(title: str) -> str:
    """As GitHub makes it: small letters, hyphens for spaces, nothing else but letters, digits, _ and -."""
    return re.sub(r"[^\w\- ]", "", title.casefold()).replace(" ", "-")


def _page(path: str, summary: str, handler: Any, **more: Any) -> Page:
    return Page("GET", path, "self", "site", summary, handler, "docs", **more)


PAGES: Final = (
    _page("/docs", "The documentation", index, query=DocsQuery),
    _page("/docs/codes/{code}", "What a code means", code, path_model=CodePath),
    _page("/docs/{topic:path}", "One page of the documentation", topic, path_model=TopicPath),
)
