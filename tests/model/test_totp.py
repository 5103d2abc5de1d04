"""One-time codes are those of RFC 6238 and RFC 4226."""

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from engine.model.totp import code_at, enrolment_uri, matching_step, secret_text, step_of

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("at_s", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_codes_of_rfc_6238_appendix_b(at_s: int, code: str) -> None:
    assert code_at(SECRET, step_of(at_s), digits=8) == code
    assert code_at(SECRET, step_of(at_s)) == code[-6:]


def test_the_codes_of_rfc_4226_appendix_d() -> None:
    codes = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]
    assert [code_at(SECRET, count) for count in range(10)] == codes


def test_a_code_is_good_a_step_before_and_after_its_own() -> None:
    code = code_at(SECRET, 1000)
    now = 1000 * 30.0
    assert [matching_step(SECRET, code, now + late, 0) for late in (-31, -30, 0, 29.9, 59.9, 60)] == [
        None,
        1000,
        1000,
        1000,
        1000,
        None,
    ]


def test_what_was_used_and_all_before_it_is_refused() -> None:
    now = 1000 * 30.0
    assert matching_step(SECRET, code_at(SECRET, 1000), now, 999) == 1000
    assert matching_step(SECRET, code_at(SECRET, 1000), now, 1000) is None
    assert matching_step(SECRET, code_at(SECRET, 999), now, 1000) is None
    assert matching_step(SECRET, code_at(SECRET, 1001), now, 1000) == 1001


@pytest.mark.parametrize("code", ["", "0", "94287082", "٩٤٢٨٧٠", "\ud800", " 287082"])
def test_what_is_no_code_is_refused(code: str) -> None:
    assert matching_step(SECRET, code, 59.0, 0) is None


def test_an_app_is_told_everything() -> None:
    uri = urlsplit(enrolment_uri(SECRET, "anna@x", "Segmill prod"))
    told = {name: values[0] for name, values in parse_qs(uri.query).items()}
    assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("otpauth", "totp", "/Segmill prod:anna@x")
    assert told == {
        "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
        "issuer": "Segmill prod",
        "algorithm": "SHA1",
        "digits": "6",
        "period": "30",
    }
    assert secret_text(SECRET) == told["secret"]
