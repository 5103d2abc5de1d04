"""Whose request it is, where a proxy of ours passes it on (`console.proxy`)."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.requests import Request

Network = IPv4Network | IPv6Network


def client_address(request: Request, proxies: Sequence[Network]) -> str:
    """The other end of the connection; where that is a proxy of ours, whom it names in X-Forwarded-For.

    Each proxy adds whom it heard at the end: it is read from there, as long as those who added are ours. What stands
    before that anybody can have written. What is no address ends it: then the proxy itself is the best that is known.
    """
    peer = request.client.host if request.client is not None else ""
    if not proxies or not is_of(peer, proxies):
        return peer
    told = [part.strip() for value in request.headers.getlist("x-forwarded-for") for part in value.split(",")]
    found = peer
    for text in reversed(told):
        if (address := _address(text)) is None:
            break
        found = address
        if not is_of(address, proxies):
            break
    return found


def is_of(text: str, proxies: Sequence[Network]) -> bool:
    """Whether it is an address within one of them."""
    address = _address(text)
    return address is not None and any(ip_address(address) in network for network in proxies)


def _address(text: str) -> str | None:
    """As it is written in the audit: without a port, and an IPv4 address in IPv6 as itself."""
    if text.startswith("[") and "]" in text:
        text = text[1 : text.index("]")]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)
