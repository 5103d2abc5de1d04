"""The documentation in the console: every page, every link, and nothing that the security policy forbids."""

import re
from functools import cache

import pytest

from engine.adapters.console.docs import anchor, rendered
from engine.config.codes import CODES
from engine.docs.topics import topics

TOPICS = {topic.name: topic for topic in topics()}


@cache
def html(name: str) -> str:
    return str(rendered(TOPICS[name]))


@cache
def places(name: str) -> frozenset[str]:
    return frozenset(re.findall(r'<h[1-6] id="([^"]+)"', html(name)))


@pytest.mark.parametrize("name", list(TOPICS))
def test_a_page_is_rendered_and_its_links_lead_to_pages_and_places_that_are_there(name):
    text = html(name)
    assert "<h1" in text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|<img|<iframe", text)
    for href in re.findall(r'href="([^"]*)"', text):
        to, _, place = href.partition("#")
        if to.startswith("/docs/"):
            assert to.removeprefix("/docs/") in TOPICS, href
            assert not place or place in places(to.removeprefix("/docs/")), href
        elif href.startswith("#"):
            assert place in places(name), href
        else:
            assert href.startswith("https://"), href


def test_help_of_each_page_has_its_section():
    """`page()` leads to `console#NAME`, NAME being the template's."""
    assert {"sign-in", "password", "overview", "the-map", "system", "documentation", "keys"} <= places("console")


def test_tables_and_blocks_are_reached_by_keys_and_anchors_are_as_github_makes_them():
    assert '<div class="scroll" tabindex="0"><table>' in html("metrics")
    assert '<pre tabindex="0"><code>' in html("code-tables")
    assert anchor("Who may do what, & why?") == "who-may-do-what--why"
    assert anchor("`order_by` and lanes") == "order_by-and-lanes"


def test_there_is_a_story_for_each_code_that_a_refusal_may_have():
    assert all(story.title and story.explanation and story.what_to_do for story in CODES.values())
