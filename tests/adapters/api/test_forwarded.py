"""Whose request it is: only a proxy that the files name is believed about that."""

from typing import Any

import pytest
from starlette.requests import Request

from engine.adapters.api.forwarded import client_address
from engine.config.console import ConsoleOptions

PROXIES = ConsoleOptions.model_validate({"proxy": ["10.0.0.5", "10.1.0.0/16", "2001:db8::/32"]}).proxy


def address(peer: str | None, *told: str, proxies: Any = PROXIES) -> str:
    headers = [(b"x-forwarded-for", text.encode("latin-1")) for text in told]
    client = None if peer is None else (peer, 4711)
    return client_address(Request({"type": "http", "headers": headers, "client": client}), proxies)


@pytest.mark.parametrize(
    ("peer", "told", "meant"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.6", ["198.51.100.7"], "10.0.0.6"),
        ("10.0.0.5", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.5", ["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.5", ["1.1.1.1, 198.51.100.7, 10.1.2.3"], "198.51.100.7"),
        ("10.0.0.5", ["10.1.2.3, 10.1.2.4"], "10.1.2.3"),
        ("10.0.0.5", ["198.51.100.7, unknown"], "10.0.0.5"),
        ("10.0.0.5", ["198.51.100.7, nonsense, 10.1.2.3"], "10.1.2.3"),
        ("10.0.0.5", [""], "10.0.0.5"),
        ("10.0.0.5", ["198.51.100.7:52100"], "198.51.100.7"),
        ("10.0.0.5", ["[2001:db9::7]:443"], "2001:db9::7"),
        ("10.0.0.5", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.5", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8::1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.5", ["anna from 1.2.3.4\x85evil"], "10.0.0.5"),
        (None, ["198.51.100.7"], ""),
    ],
)
def test_whose_request_it_is(peer: str | None, told: list[str], meant: str) -> None:
    assert address(peer, *told) == meant


def test_without_proxies_nobody_is_believed() -> None:
    assert address("10.0.0.5", "198.51.100.7", proxies=()) == "10.0.0.5"
