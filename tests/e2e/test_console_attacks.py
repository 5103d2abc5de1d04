"""Scripts in every field of a message, in chromium, on every page that shows it: nothing runs (reliability.md SEC6)."""

from typing import TYPE_CHECKING

import pytest

from engine.hl7.delimiters import STANDARD
from engine.hl7.escape import escape
from engine.testing import messages
from tests.e2e.test_console_messages import seq_of

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse, Console

RUN = "window.top.attacked=1"
PAYLOADS = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f'"><script>{RUN}</script>',
    f"'><img src=x onerror={RUN}>",
    f'" onmouseover="{RUN}" autofocus onfocus="{RUN}',
    f"</textarea><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"--><script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f"javascript:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"<a href=javascript:{RUN}>x</a>",
    f"<iframe srcdoc='<script>{RUN}</script>'>",
    f"<iframe src=javascript:{RUN}>",
    f"<object data=javascript:{RUN}>",
    f"<embed src=javascript:{RUN}>",
    f"<body onload={RUN}>",
    f"<details open ontoggle={RUN}>",
    f"<video><source onerror={RUN}>",
    f"<audio src=x onerror={RUN}>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}>",
    f"<marquee onstart={RUN}>",
    f"<math><mtext><script>{RUN}</script>",
    f"<form action=javascript:{RUN}><button>x</button>",
    f"<button formaction=javascript:{RUN}>x</button>",
    f"<base href=javascript:{RUN}//>",
    f"<meta http-equiv=refresh content=0;url=javascript:{RUN}>",
    "<link rel=stylesheet href=//127.0.0.1:9/x.css>",
    "<style>@import '//127.0.0.1:9/x.css';</style>",
    "<div style=background:url(//127.0.0.1:9/x)>",
    f"<table background=javascript:{RUN}>",
    f"<template><script>{RUN}</script></template>",
    f'<noscript><p title="</noscript><img src=x onerror={RUN}>">',
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<ScRiPt>{RUN}</sCrIpT>",
    f"<script/x>{RUN}</script>",
    f"<img/src='x'onerror={RUN}>",
    f"<svg><animate onbegin={RUN} attributeName=x>",
    f"<svg><a xlink:href=javascript:{RUN}><text y=9>x</text></a></svg>",
    f"<xss contenteditable autofocus onfocus={RUN}>x</xss>",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"&#60;script&#62;{RUN}&#60;/script&#62;",
    f"%3Cscript%3E{RUN}%3C/script%3E",
    f"\\u003cscript\\u003e{RUN}\\u003c/script\\u003e",
    f"${{{RUN}}}",
    "{{ 7*7 }}",
    "{% include '/etc/passwd' %}",
    "{{ cycler.__init__.__globals__ }}",
    f"`${{{RUN}}}`",
    f"'; {RUN}; //",
    f'"; {RUN}; //',
    f"<!--<img src=x onerror={RUN}>-->",
    f"<![CDATA[<script>{RUN}</script>]]>",
    f"\u202e>tpircs/<{RUN}>tpircs<",
    f"\u2028<script>{RUN}</script>",
    f"\ufeff<script>{RUN}</script>",
    f"\x07\x1b]0;{RUN}\x07",
)
FEW = PAYLOADS[::6]
"""Of every run; all of them with `make soak`."""

PAGES = ("/", "/map", "/messages", "/messages?channel=adt", "/queues", "/held", "/tables", "/channels", "/audit")


def attack(console: "Console", browse: "Browse", payloads: tuple[str, ...]) -> None:
    for number, payload in enumerate(payloads):
        text = escape(payload, STANDARD)
        control_id = f"ATTACK{number}X{len(payloads)}"
        # In every field of every segment but the header, of which the sender is one.
        lines = messages.adt(control_id=control_id, family=text, charset="UNICODE UTF-8").decode().split("\r")
        filled = [lines[0].replace("|HIS|", f"|{text}|", 1)]
        for line in filter(None, lines[1:]):
            name, *fields = line.split("|")
            filled.append("|".join([name, *(text if index else field for index, field in enumerate(fields))]))
        console.send("adt", ("\r".join(filled) + "\r").encode())
        page = browse("operator", f"/messages/{seq_of(console, control_id)}")
        page.get_by_role("button", name="Show the values").first.click()
        page.get_by_role("link", name="Mask the values").wait_for()
        assert page.evaluate("() => window.attacked") is None, payload
        if payload.isprintable():
            assert payload in (page.locator("#tree").text_content() or ""), f"not as text: {payload}"
        page.close()
    for path in (
        "/",
        "/map",
        "/messages",
        "/messages?channel=adt",
        "/queues",
        "/held",
        "/tables",
        "/channels",
        "/audit",
    ):
        page = browse("admin", path)
        assert page.evaluate("() => window.attacked") is None, path
        page.close()
    assert browse.wrong == [], "nothing was asked for, refused by the policy, or said"


def test_scripts_in_every_field_run_on_no_page(console: "Console", browse: "Browse") -> None:
    attack(console, browse, FEW)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_each_of_sixty_scripts_in_every_field_runs_on_no_page(console: "Console", browse: "Browse") -> None:
    assert len(set(PAYLOADS)) >= 60
    attack(console, browse, PAYLOADS)
