"""`keys` of a site and of a channel."""

import pytest

from engine.config.search_keys import DeclaredKeys, declared
from engine.hl7.search_keys import DEFAULT_KEYS
from engine.model.ids import ChannelName
from tests.config.test_site import Load, told


def test_a_channel_adds_to_what_the_site_says_which_adds_to_the_defaults() -> None:
    found = declared({"mrn": ("PID-3.1",), "case": ("ZCS-1",)}, {"visit": (), "case": ("ZCS-2",)})
    assert found == {
        **{name: paths for name, paths in DEFAULT_KEYS.items() if name != "visit"},
        "mrn": ("PID-3.1",),
        "case": ("ZCS-2",),
    }


def test_each_channel_is_read_by_its_own_and_what_no_file_has_by_the_sites() -> None:
    keys = DeclaredKeys({"case": ("ZCS-1",)}, {ChannelName("lab"): ({"case": ("ZCS-2",)}, "cp1252")})
    raw = b"MSH|^~\\&|A\rZCS|one|two\r"
    assert keys.of(ChannelName("lab"), raw) == (("case", "two"),)
    assert keys.of(ChannelName("gone"), raw) == (("case", "one"),)
    assert keys.names == tuple(sorted([*DEFAULT_KEYS, "case"]))


def test_keys_stand_in_the_files_of_site_and_channel(load: Load, channel: str) -> None:
    site = load(channel + "keys: {case: [ZCS-1, ZCS-3.2], visit: []}\n", settings="keys:\n  ward: PV1-3.1\n")
    assert site.is_valid, site.findings
    assert site.keys.names == tuple(sorted([*DEFAULT_KEYS, "case", "ward"]))
    raw = b"MSH|^~\\&|A\rPV1|1|I|W7||||||||||||||||V1\rZCS|one||x^two\r"
    (name,) = [one.name for one in site.channels]
    assert set(site.keys.of(name, raw)) == {("ward", "w7"), ("case", "one"), ("case", "two")}


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("keys: {Mrn: PID-3}\n", ("segmill.yaml", 1, "E490")),
        ("keys:\n  state: PID-3\n", ("segmill.yaml", 2, "E490")),
        ("keys:\n  mrn: PID-x\n", ("segmill.yaml", 2, "E131")),
        ("keys:\n" + "".join(f"  k{n}: PID-3\n" for n in range(17)), ("segmill.yaml", 2, "E490")),
    ],
)
def test_a_mistake_is_shown_where_it_stands(
    load: Load, channel: str, settings: str, place: tuple[str, int, str]
) -> None:
    assert told(load(channel, settings=settings).findings) == [place]
