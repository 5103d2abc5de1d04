"""Small things people write on a command line: addresses, durations, rates; and what the system says of them."""

import os

from engine.cli.command import misuse


def host_and_port(text: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port`, or a port of this machine. Raises a misuse."""
    host, colon, port = text.rpartition(":")
    if not (port.isdecimal() and 0 < int(port) < 65536) or (colon and not host):
        raise misuse(f"'{text}' is no address: write HOST:PORT, such as 127.0.0.1:2575")
    return host.strip("[]") or "127.0.0.1", int(port)


def seconds(text: str, option: str) -> float:
    """A duration such as 30s, above zero. Raises a misuse."""
    from engine.config.finding import BadValue
    from engine.config.units import parse_duration

    try:
        found = parse_duration(text)
    except BadValue as exc:
        raise misuse(f"{option}: {exc.message}; {exc.hint}") from None
    if found <= 0:
        raise misuse(f"{option} must be above zero")
    return found


def per_second(text: str) -> float:
    """`50/s`, `10/m` or `50` as messages a second. Raises a misuse."""
    number, _, unit = text.partition("/")
    try:
        rate = float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate < 1e9:
        raise misuse(f"'{text}' is no rate: write 50/s or 10/m")
    return rate


def why(error: OSError) -> str:
    """What the system says, without what asyncio and socket add to it (an address that the sentence has already)."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
