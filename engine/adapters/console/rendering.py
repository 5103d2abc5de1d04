"""How a page comes to be: its template with what every page has, the notice of what was done, and refusals as pages.

Text from anywhere is escaped by the templates' environment. What is markup by itself is a `markupsafe.Markup` that was
made here or by the drawings, of numbers and of escaped text.
"""

import re
from datetime import UTC, tzinfo
from functools import cache
from typing import Any, Final
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from engine import __version__
from engine.adapters.api.access import Signed
from engine.adapters.api.desks import Desk
from engine.adapters.api.entries import Api, Call, Page
from engine.adapters.api.problems import Problem
from engine.adapters.console.shown import FILTERS, number
from engine.adapters.console.static_files import static
from engine.config.codes import CODES
from engine.config.hours import zone
from engine.model.access import Principal
from engine.ports.access import PROVIDER_SUFFIX

THEME: Final = "segmill_theme"
THEMES: Final = ("auto", "light", "dark")
NAV: Final = {
    "Overview": "o",
    "Map": "p",
    "Messages": "m",
    "Queues": "q",
    "Held": "h",
    "Tables": "t",
    "Worklist": "w",
    "Channels": "c",
    "Try it": "y",
    "Audit": "a",
    "Users": "u",
    "System": "s",
}
"""In this order, as far as there are pages of these names and who asks may see them; with the key that leads there."""
BELOW: Final = {"/reload": "/channels", "/take-up": "/held"}
"""Pages that stand in the navigation under another one."""
HEADERS: Final = {
    # With no-referrer browsers send forms with `Origin: null`, and nobody could tell who sent them.
    "referrer-policy": "same-origin",
    "content-type": "text/html; charset=utf-8",
}


def page(call: Call, template: str, *, title: str, status: int = 200, help: str = "", **context: Any) -> Response:
    """The template as an answer. `help`: where its help stands, such as `console#queues`; by itself, its own section.

    Every template has `who`, `environment`, `nav`, `csrf_field`, `now_us`, `zone`, `static`, `notice`, and `context`.
    """
    return _page(call.api, call.request, call.signed, template, title, status, help, context)


def part(api: Api, who: Principal, template: str, **context: Any) -> str:
    """A part of a page by itself, for a script that puts it in its place."""
    every = {"now_us": api.clock.now_us(), "zone": site_zone(api), "who": who}
    return templates().get_template(template).render(every | context)


def notice(call: Call, sentence: str, kind: str = "ok") -> None:
    """To be said once, on the next page that this session sees. `kind`: `ok`, `warn` or `bad`."""
    desk_of(call).notice = (kind, sentence)


def see_other(call: Call, to: str, sentence: str = "", kind: str = "ok") -> Response:
    """After a form: 303 to a page of ours, with a notice."""
    assert is_own_path(to), "a page of ours"
    if sentence:
        notice(call, sentence, kind)
    return RedirectResponse(to, 303, headers={"referrer-policy": HEADERS["referrer-policy"]})


def desk_of(call: Call) -> Desk:
    """What is kept for this session."""
    assert call.signed is not None and call.signed.hash, "pages are for people who are signed in"
    return call.api.desks.of(call.signed.hash)


def is_own_path(path: str) -> bool:
    """Whether it leads to a page of ours: one that begins with `//` or `/\\` leads elsewhere."""
    return re.fullmatch(r"/(?![/\\])[^\\\x00-\x20\x7f-\uffff]{0,2000}", path) is not None


def refused(problem: Problem, request: Request, api: Api) -> Response:
    """A refusal as a page: what is in the way, and a way back. Who is not signed in is sent to do so."""
    signed: Signed | None = getattr(request.state, "signed", None)
    if problem.code == "E471":
        return _to_sign_in(request, api)
    if problem.code == "E475":
        return RedirectResponse("/password", 303, headers={"referrer-policy": HEADERS["referrer-policy"]})
    context = {"problem": problem, "story": CODES[problem.code], "came_from": _came_from(request)}
    answer = _page(api, request, signed, "refused.html", CODES[problem.code].title, problem.status, "", context)
    answer.headers.update({name: value for name, value in problem.headers.items() if name != "www-authenticate"})
    return answer


def _to_sign_in(request: Request, api: Api) -> Response:
    here = _address(request)
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        # The cookie is not sent along a link of another site (SameSite=Strict); from a page of ours it is. A link in a
        # ticket works by that, and gains nothing: a GET changes nothing.
        return _page(api, request, None, "follow.html", "Segmill", 200, "", {"to": here})
    to = "/sign-in" if here == "/" else f"/sign-in?next={quote(here, safe='/')}"
    return RedirectResponse(to, 303, headers={"referrer-policy": HEADERS["referrer-policy"]})


def _address(request: Request) -> str:
    """With its query, to come back to; `/` of what is no page to come back to."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"] + (f"?{query}" if query else "")
    return path if request.method == "GET" and is_own_path(path) else "/"


def _came_from(request: Request) -> str:
    """The page of ours that led here, to go back to; '' where none did that can be opened again."""
    try:
        parts = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    is_ours = parts.netloc == request.headers.get("host") and is_own_path(path) and path != _address(request)
    return path if is_ours and any(shown.fullmatch(parts.path) for shown in _shown_pages()) else ""


def _page(
    api: Api,
    request: Request,
    signed: Signed | None,
    template: str,
    title: str,
    status: int,
    help_: str,
    context: dict[str, Any],
) -> Response:
    who = signed.principal if signed is not None else None
    theme = request.cookies.get(THEME, "auto")
    said = api.desks.of(signed.hash).take_notice() if signed is not None and signed.hash else None
    csrf = signed.csrf if signed is not None else ""
    here = request.scope["path"]
    every = {
        "title": title,
        "who": who,
        # Their password and second factor are not ours.
        "by_provider": who is not None and who.name.endswith(PROVIDER_SUFFIX),
        "environment": api.environment,
        "is_production": is_production(api.environment),
        "nav": _nav(api, who, here),
        "here": here,
        "back": _address(request) if status < 400 else "/",
        "csrf": csrf,
        "csrf_field": Markup('<input type="hidden" name="csrf" value="{}">').format(csrf),
        "now_us": api.clock.now_us(),
        "zone": site_zone(api),
        "theme": theme if theme in THEMES else "auto",
        "static": static,
        "notice": said,
        "help": f"/docs/{help_ or 'console#' + template.removesuffix('.html').replace('_', '-')}",
        "version": __version__,
    }
    assert not every.keys() & context.keys(), "a page's own names are none of these"
    text = templates().get_template(template).render(every | context)
    return HTMLResponse(text, status, headers=HEADERS)


def is_production(environment: str) -> bool:
    """By its name, as people write it."""
    return re.search(r"(?i)(^|[^a-z])(prod|production|live|p)([^a-z]|$)", environment) is not None


def site_zone(api: Api) -> tzinfo:
    """In which times are shown."""
    settings = api.site().site
    return zone(settings.time_zone) if settings is not None and settings.time_zone is not None else UTC


def _nav(api: Api, who: Principal | None, here: str) -> list[dict[str, Any]]:
    if who is None:
        return []
    held = sum(count for channel, count in api.pulse.held().items() if who.may("see", channel))
    return [
        {
            "name": one.nav,
            "path": one.path,
            "is_here": _is_at(here, one.path),
            "key": NAV[one.nav],
            # The one number in the navigation: what a person must act on.
            "badge": number(held) if one.nav == "Held" and held else "",
            "badge_title": f"{held} held: they wait for a person",
        }
        for one in sorted(_pages_of_nav(), key=lambda one: list(NAV).index(one.nav))
        if may_open(who, one)
    ]


def may_open(who: Principal, one: Page) -> bool:
    """Whether the guard would let them in, as far as it does not depend on which channel."""
    if one.need == "public" or one.need == "self":
        return not who.must_change
    return who.may(one.need) if one.scope == "site" else who.may_somewhere(one.need)


def _is_at(here: str, path: str) -> bool:
    above = next((to for at, to in BELOW.items() if here == at or here.startswith(f"{at}/")), here)
    return above == path or (path != "/" and above.startswith(f"{path}/"))


@cache
def _shown_pages() -> tuple[re.Pattern[str], ...]:
    """The addresses that show a page to whoever opens them; what answers a form alone is none."""
    from engine.adapters.console.pages import PAGES  # they are made with this module

    shown = [one.path for one in PAGES if one.method == "GET"]
    return tuple(re.compile(re.sub(r"\{\w+(:path)?\}", lambda m: ".+" if m[1] else "[^/]+", path)) for path in shown)


@cache
def _pages_of_nav() -> tuple[Page, ...]:
    from engine.adapters.console.pages import PAGES  # they are made with this module

    return tuple(one for one in PAGES if one.nav)


@cache
def templates() -> Environment:
    """The templates of this package. What a template names and is not given is a defect, and shows as one."""
    made = Environment(
        loader=PackageLoader("engine.adapters.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    return made
