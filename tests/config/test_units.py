import pytest

from engine.config.finding import BadValue
from engine.config.units import format_duration, format_size, parse_duration, parse_percent, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604800), ("1.5s", 1.5), ("0", 0), ("10 s", 10)],
)
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("20MB", 20_000_000), ("64KB", 64_000), ("1GiB", 2**30), ("16MiB", 2**24), ("4096", 4096), ("0", 0), ("10B", 10)],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_fraction_of_a_unit_may_be_written_where_it_is_whole_bytes() -> None:
    assert parse_size("1.5KB") == 1500
    with pytest.raises(BadValue, match="whole number of bytes"):
        parse_size("1.0001KB")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("30", "did you mean 30s?"),
        ("5min", "units: ms, s, m, h, d"),
        ("-5s", "write a number"),
        ("soon", "write a number"),
    ],
)
def test_a_duration_that_cannot_be_meant_says_what_can(text: str, hint: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_duration(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [("20mb", "did you mean 20MB?"), ("1TB", "units: B, KB"), ("big", "write a number"), ("1e9", "write a number")],
)
def test_a_size_that_cannot_be_meant_says_what_can(text: str, hint: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_size(text)
    assert hint in caught.value.hint


def test_a_wrong_unit_is_marked_and_not_the_number_before_it() -> None:
    with pytest.raises(BadValue) as caught:
        parse_duration("30 sec")
    assert caught.value.offset == 3


@pytest.mark.parametrize("text", ["101%", "20", "-1%", "%", "1.5%"])
def test_a_percentage_is_whole_and_between_0_and_100(text: str) -> None:
    assert parse_percent("20%") == 0.2
    with pytest.raises(BadValue):
        parse_percent(text)


@pytest.mark.parametrize("text", ["0", "500ms", "1s", "90s", "1m", "2h", "7d", "1500ms"])
def test_a_duration_is_written_as_it_would_be_read(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize("text", ["0", "512", "64KB", "20MB", "16MiB", "1GiB", "1GB", "1500"])
def test_a_size_is_written_as_it_would_be_read(text: str) -> None:
    assert format_size(parse_size(text)) == text
