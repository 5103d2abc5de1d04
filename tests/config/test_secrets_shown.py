"""Files are shown with stars for what is secret in them, wherever YAML lets it stand, and nothing else is cut."""

from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.config.secret_names import is_secret_key
from engine.config.secrets_shown import hidden_lines, hidden_yaml, spans, with_stand_ins

SECRETS = [
    "password: hunter2",
    "api_key: hunter2",
    "apikey: hunter2",
    "apiKey: hunter2",
    "X-API-Key: hunter2",
    "token: hunter2",
    "private_key: hunter2",
    "client-secret: hunter2",
    "DB_PASSWD: hunter2",
    "Authorization: hunter2",
    "credentials: {user: anna, code: hunter2}",
    "'password': 'hunter2'",
    '"pass\\u0077ord": "hunter2"',
    '"password": "say \\"hunter2\\" twice"',
    "password: 'it''s hunter2'",
    "password: |\n    hunter2\n    and hunter2",
    "password: >-\n\n    hunter2\n",
    "password:\n    hunter2",
    "password: 'some\n    hunter2'",
    "password: !!str hunter2",
    "? password\n  : hunter2",
    "tokens: [hunter2, x-hunter2]",
    "token:\n    - hunter2\n    - of: {depth: hunter2}",
    "a: &p hunter2\n  password: *p",
    "a: &p {b: [hunter2]}\n  password: *p",
    "&k password : x\n  other: {*k : hunter2}",
    "headers: [{name: X-Api-Key, value: hunter2}]",
    "headers: [{value: hunter2, name: X-Api-Key}]",
    "headers: ['Authorization: Bearer hunter2']",
    "url: http://me:hunter2@host/x",
    'url: "http://me:h\\u0075nter2@host/x" # hunter2 is not in it',
    "url: https://host/x?id=1&api_key=hunter2&b=2",
    "text: ${SITE_TOKEN:-hunter2}",
    "password: ${SITE:-hunter2}",
    "password: pre-hunter2-${SITE}-hunter2",
    "text: |\n    -----BEGIN RSA PRIVATE KEY-----\n    hunter2\n    -----END RSA PRIVATE KEY-----",
    'body: |\n    {"user": "x", "password": "hunter2"}',
    'body: \'{"user": "x", "api_key": "hunter2"}\'',
    'body: "{\\"user\\": \\"x\\", \\"token\\": \\"hunter2\\"}"',
    "body: client_secret=hunter2&grant_type=client_credentials",
    "dsn: host=db password=hunter2 dbname=x",
    "python: |\n    token = 'hunter2'",
    "headers: ['X-Api-Key: hunter2']",
    "headers: ['Authorization: Digest hunter2']",
    "a: | # password: hunter2\n    x",
    "a: 1 # password: hunter2",
    "a: 1\n  # token: hunter2\n  b: 2",
]


@pytest.mark.parametrize("written", SECRETS)
def test_what_is_secret_is_not_shown_and_what_is_beside_it_is(written: str) -> None:
    text = f"first: stays\nsite:\n  {written}\nlast: {{path: PID-3.1, stays: yes}}\n"
    for shown in (hidden_yaml(text), with_stand_ins(text)):
        told = shown.replace("# hunter2 is not in it", "")
        assert "hunter2" not in told and "h\\u0075nter2" not in told
        assert shown.startswith("first: stays\nsite:\n") and shown.endswith("last: {path: PID-3.1, stays: yes}\n")
        assert shown.count("\n") == text.count("\n"), "findings stand at the same lines"
    assert len(hidden_yaml(text)) == len(text)
    if "*" not in written:  # an alias has lost its anchor, as no file here may have one
        assert yaml.safe_load(with_stand_ins(text))["last"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("smtp: {host: x, password: abc, port: 25}", "smtp: {host: x, password: ***, port: 25}"),
        ('x: {password: "a,b}", b: c}', "x: {password: ******, b: c}"),
        ("token: ${TOKEN} # as it is", "token: ${TOKEN} # as it is"),
        ("token: '${file:secret.txt}'", "token: '${file:secret.txt}'"),
        ("password: ${SITE:-abc}", "password: ${SITE:-***}"),
        ("password: a${SITE}b", "password: *${SITE}*"),
        ('password: "a${SITE}b"', 'password: "*${SITE}*"'),
        ("url: http://me:abc@host/x?a=b", "url: http://me:***@host/x?a=b"),
        ("url: http://me:${PASSWORD}@host/x", "url: http://me:${PASSWORD}@host/x"),
        ("headers: {Authorization: Bearer abc}", "headers: {Authorization: **********}"),
        ("password: |\n  abc\n  d\nuser: x", "password: *\n*****\n***\nuser: x"),
    ],
)
def test_the_stars_are_as_long_and_stand_for_that_alone(written: str, shown: str) -> None:
    assert hidden_yaml(written) == shown


NO_SECRETS = [
    "key: his.key",
    "search_keys: {mrn: PID-3.1, visit: PV1-19}",
    "secretary: Anna",
    "token_url: https://host/token",
    "password_file: /run/secrets/x",
    "order_by: PID-3.1",
    "description: 'the password: is in the vault'",
    "note: |\n  token: this is a text\n  of two lines",
    "keyboard: abc",
    "monkey: abc",
    "primary_key: abc",
    "steps: [{set: {PID-5.1: =upper(PID-5.1)}}, {map: {PV1-3.1: tables/token.csv}}]",
    "url: http://host:8080/a@b",
    "text: Basic Metabolic Panel",
    """body: '{"token": "${TOKEN}", "user": "x"}'""",
    "body: grant_type=x&client_secret=${SECRET}",
    "when: password == 'x' and PID-3 == 'y'",
    "password: ''",
    "password:",
]


@pytest.mark.parametrize("written", NO_SECRETS)
def test_what_is_no_secret_is_not_cut(written: str) -> None:
    assert hidden_yaml(written) == written == with_stand_ins(written)


@pytest.mark.parametrize("broken", ["a: [1, 2\n", "a: b: c\n", "\ta: 1\n", "a: 'x\n", "%\n", "*x : 1\n"])
def test_a_file_that_is_no_yaml_is_looked_at_line_by_line_as_well(broken: str) -> None:
    for text in (f"password: hunter2\n{broken}", f"{broken}password: hunter2\nx: http://me:hunter2@host/\n"):
        for shown in (hidden_yaml(text), with_stand_ins(text), hidden_lines(text)):
            assert "hunter2" not in shown and shown.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *dict.fromkeys(
            ("password", "Passwort-Token", "api-key", "apikeys", "APIKEY", "sshKey", "privateKey"), True
        ).items(),
        *dict.fromkeys(("pwd", "dbpassword", "my_secret_of-it", "bearerToken", "hmac_key", "authkey"), True).items(),
        *dict.fromkeys(("", "key", "keys", "x" * 100_000, "sort_key", "tokenUrl", "secretariat"), False).items(),
    ],
)
def test_names_of_secrets(name: str, is_secret: bool) -> None:
    assert is_secret_key(name) is is_secret


@given(st.text("ab:{}[]'\"|>&*!#- \n\r\\${}@/?=,%", max_size=60))
def test_any_text_keeps_its_lines_and_what_is_no_secret(text: str) -> None:
    for name in ("", "password: "):
        whole = f"a: 1\n{name}{text}"
        assert len(hidden_yaml(whole)) == len(whole)
        ends = sorted(spans(whole))
        assert all(one[1] <= other[0] for one, other in pairwise(ends))


def test_many_nodes_take_time_in_proportion() -> None:
    text = "".join(f"k{number}: {{password: x, a: [&a{number} b]}} # token: y\n" for number in range(10_000))
    assert len(spans(text)) == 20_000
    for text in ('"token": "' * 20_000, "token=" * 20_000, "'password':" * 20_000, "a-" * 40_000):
        assert len(hidden_lines(text)) == len(text) == len(hidden_yaml(f"- |\n  {text}")) - 6
    many = f"a: &a [{'x, ' * 30_000}x]\npassword: [{'*a, ' * 30_000}*a]\n"
    assert len(spans(many)) == 30_001
