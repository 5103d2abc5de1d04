"""What channel.yaml may say, and how each mistake in it is told."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.config.channel import AcceptPattern, ChannelFile
from engine.config.finding import ConfigFinding
from engine.config.site import LoadedSite

Load = Callable[..., LoadedSite]

FULL = """\
description: Radiology orders from the HIS, to the RIS and to the archive
listen:
  mllp: {port: 2576, allow: [10.1.0.0/16, 10.2.3.4], max_message: 20MB, idle_timeout: 5m, lenient_fs: true}
accept: [ORM^O01, OMG^O19, ADT^*]        # several channels may share a port
from: MSH-3.1 == "HIS"
ack: {when: stored, mode: enhanced, when_held: AE, on_store_failure: close, identity: {application: ENGINE}}
duplicates: {window: 2d}
charset: {fallback: iso8859-15}
steps:
  - filter: PV1-2 in ["I", "O", "E"]
  - set:
      MSH-5: RIS
      PID-2.1: =PID-3[5 == "MR"].1
      PID-5.1: =upper(PID-5.1)
    name: names
    when: PV1 exists
  - map: {PV1-3.1: tables/wards.csv}
  - each: OBX
    when: OBX-2 == "ED"
    do:
      - delete: [OBX-17]
        when: OBX-3 == "x"
  - delete: [NTE, PID-19]
  - python: steps.py:split
routes:
  - to: ris
  - to: archive
    when: MSH-9.1 in ["ORM", "OMG", "OMI", "ADT"]
destinations:
  ris:
    mllp: {host: ris.local, port: 6661, ack_timeout: 30s}
    on_refused: stop
    on_rejected: hold
    on_unanswered: hold
    retry: {first: 500ms, most: 2m, jitter: 50%, limit: 24h}
    window: 32
  archive:
    file: {folder: /data/orders, name: "{date(MSH-7)}/{MSH-10}.hl7"}
"""
FILES = {"tables/wards.csv": "from,to\nW1,1100\n", "steps.py": "def split(message, context):\n    pass\n"}


@pytest.fixture
def full(load: Load) -> ChannelFile:
    site = load(FULL, files=FILES)
    assert site.findings == []
    return site.channels[0].file


def test_what_the_listener_is_told(full: ChannelFile) -> None:
    port = full.listen.mllp
    assert (port.port, port.host, port.max_message, port.idle_timeout) == (2576, "127.0.0.1", 20_000_000, 300)
    assert [str(network) for network in port.allow] == ["10.1.0.0/16", "10.2.3.4/32"]
    assert port.lenient_fs is True
    assert port.tls is None


def test_which_messages_are_taken(full: ChannelFile) -> None:
    assert full.accepts_type("ORM", "O01")
    assert full.accepts_type("ADT", "A31")
    assert full.accepts_type("ADT", "")
    assert not full.accepts_type("ORM", "O02")
    assert str(full.condition) == 'MSH-3.1 == "HIS"'


def test_how_senders_are_answered(full: ChannelFile) -> None:
    assert full.ack.when == "stored"
    assert full.ack.mode == "enhanced"
    assert (full.ack.when_held, full.ack.on_store_failure) == ("AE", "close")
    assert (full.ack.identity.application, full.ack.identity.facility) == ("ENGINE", "")
    assert full.duplicates.window == 2 * 86400
    assert full.charset.fallback == "iso8859_15"


def test_steps_come_in_order_with_their_place(full: ChannelFile) -> None:
    assert [(s.kind, s.line, s.column, s.name) for s in full.steps] == [
        ("filter", 10, 5, ""),
        ("set", 11, 5, "names"),
        ("map", 17, 5, ""),
        ("each", 18, 5, ""),
        ("delete", 23, 5, ""),
        ("python", 24, 5, ""),
    ]
    assert str(full.steps[1].when) == "PV1 exists"
    assert full.steps[0].file == "channels/orders/channel.yaml"


def test_a_kind_with_a_when_of_its_own_keeps_it(full: ChannelFile) -> None:
    each = full.steps[3]
    assert each.when is None
    assert str(each.options.when) == 'OBX-2 == "ED"'
    (inner,) = each.options.do
    assert (inner.kind, str(inner.when), inner.line) == ("delete", 'OBX-3 == "x"', 21)


def test_where_messages_go_and_what_a_failure_comes_to(full: ChannelFile) -> None:
    assert [(r.to, r.when is None) for r in full.routes] == [("ris", True), ("archive", False)]
    ris = full.destinations["ris"]
    assert (ris.sink, ris.options.host, ris.options.ack_timeout) == ("mllp", "ris.local", 30)
    policy = ris.policy
    assert (str(policy.on_refused), str(policy.on_rejected), policy.on_unanswered) == ("stop", "hold", "hold")
    assert (policy.retry.first, policy.retry.most, policy.retry.jitter, policy.retry.limit_s) == (0.5, 120, 0.5, 86400)
    assert policy.window == 32
    assert full.destinations["archive"].sink == "file"


def test_a_limit_is_a_number_of_attempts_or_a_time(load: Load) -> None:
    def policy(limit: str) -> tuple[int | None, float | None]:
        retry = load(FULL.replace("24h", limit), files=FILES).channels[0].file.destinations["ris"].policy.retry
        return retry.limit_attempts, retry.limit_s

    assert policy("none") == (None, None)
    assert policy("20") == (20, None)
    assert policy("90s") == (None, 90)


def test_the_defaults_keep_messages(load: Load, channel: str) -> None:
    file = load(channel).channels[0].file
    assert file.accepts_type("ZZZ", "Z99")
    assert file.ack.when == "processed"
    assert file.duplicates.window == 7 * 86400
    policy = file.destinations["archive"].policy
    assert (str(policy.on_refused), str(policy.on_rejected), policy.on_unanswered) == ("hold", "retry", "retry")
    assert (policy.on_unreachable, policy.on_unsendable, policy.open) == ("retry", "hold", None)
    assert (policy.retry.limit_attempts, policy.retry.limit_s, policy.window) == (None, None, 1)


def test_duplicates_can_be_off(load: Load, channel: str) -> None:
    assert not load(channel + "duplicates: off\n").channels[0].file.duplicates.is_on


def one(load: Load, old: str, new: str) -> ConfigFinding:
    """The only finding after one change of the full channel."""
    assert FULL.count(old) >= 1
    findings = load(FULL.replace(old, new, 1), files=FILES).findings
    assert len(findings) == 1, findings
    return findings[0]


MISTAKES = [
    # old, new, line, column, length, code, a part of message and hint
    ("description", "descripton", 1, 1, 10, "E101", "did you mean 'description'?"),
    ("port: 2576,", "", 3, 3, 4, "E103", "'mllp' lacks the key 'port'"),
    ("port: 2576", "port: 257600", 3, 16, 6, "E106", "'port' must be at most 65535"),
    ("port: 2576", "port: 2_576", 3, 16, 5, "E106", "not a whole number"),
    ("port: 2576", "port: [1]", 3, 16, 1, "E104", "'port' must be a whole number, not a list"),
    ("lenient_fs: true", "lenient_fs: yes", 3, 103, 3, "E105", "did you mean true?"),
    ("10.1.0.0/16", "10.1.0.0/8", 3, 30, 10, "E107", "did you mean 10.0.0.0/8?"),
    ("10.1.0.0/16", "his.local", 3, 30, 9, "E107", "such as 10.1.0.0/16"),
    ("10.1.0.0/16", "[10.1.0.0/16]", 3, 30, 1, "E104", "an address or a network"),
    ("- delete: [NTE, PID-19]", "- [delete]", 23, 5, 1, "E104", "where a step must stand"),
    (
        '  archive:\n    file: {folder: /data/orders, name: "{date(MSH-7)}/{MSH-10}.hl7"}',
        "  archive: x",
        37,
        12,
        1,
        "E104",
        "must be a destination",
    ),
    ("20MB", "20mb", 3, 69, 2, "E106", "did you mean 20MB?"),
    ("max_message: 20MB", "max_message: 2GiB", 3, 67, 4, "E106", "at most 1073741824"),
    ("[ORM^O01, OMG^O19, ADT^*]", "ADT^A01", 4, 9, 7, "E104", "write it in brackets: [ADT^A01]"),
    ("ADT^*", "ADT_A01", 4, 28, 7, "E123", "did you mean ADT^A01?"),
    ("ADT^*", "ADT", 4, 28, 3, "E123", "did you mean ADT^*?"),
    ("[ORM^O01, OMG^O19, ADT^*]", "[]", 4, 9, 1, "E106", "'accept' is empty"),
    ("[ORM^O01, OMG^O19, ADT^*]", "[ORM]", 4, 10, 3, "E123", "did you mean ORM^*?"),
    ("[ORM^O01, OMG^O19, ADT^*]", "", 4, 1, 6, "E109", "remove the line"),
    ('== "HIS"', '= "HIS"', 5, 15, 1, "E130", "did you mean ==?"),
    ("when: stored", "when: delivered", 6, 13, 9, "E105", "name the destination: delivered(ris)"),
    ("when: stored", "when: delivered(rsi)", 6, 23, 3, "E140", "did you mean 'ris'?"),
    ("mode: enhanced", "mode: enhansed", 6, 27, 8, "E105", "did you mean 'enhanced'?"),
    ("{window: 2d}", "on", 7, 13, 2, "E105", "{window: 7d}"),
    ("window: 2d", "window: 2", 7, 22, 1, "E106", "did you mean 2s?"),
    ("charset: {fallback: iso8859-15}", "charset: latin1", 8, 10, 6, "E104", "charset: {fallback: latin1}"),
    ("iso8859-15", "iso2022_jp", 8, 21, 10, "E105", "not a character set that can be a fallback"),
    ("- filter: P", "- filtr: P", 10, 5, 5, "E102", "did you mean 'filter'?"),
    ("MSH-5: RIS", "MSH-5: =", 12, 14, 1, "E130", "has nothing after ="),
    ("=upper(PID-5.1)", "=uper(PID-5.1)", 14, 17, 4, "E130", "upper"),
    ("PID-5.1: =", "PID-5.x: =", 14, 13, 1, "E131", ""),
    ("    name: names", "    filter: PV1 exists", 15, 5, 6, "E108", "two steps in one entry"),
    ("    name: names", "    nme: names", 15, 5, 3, "E101", "unknown key 'nme'"),
    ("when: PV1 exists", "when: [PV1]", 16, 11, 1, "E104", "'when' must be a text"),
    ("tables/wards.csv", "tables/ward.csv", 17, 20, 15, "E132", "did you mean tables/wards.csv?"),
    ("tables/wards.csv", "tables/wards.txt", 17, 20, 16, "E132", "not a .csv file"),
    ("each: OBX", "each: obx", 18, 11, 3, "E131", "did you mean OBX?"),
    ("- delete: [OBX-17]", "- delte: [OBX-17]", 21, 9, 5, "E102", "did you mean 'delete'?"),
    ("[NTE, PID-19]", "[]", 23, 13, 1, "E106", "'delete' is empty"),
    (
        '    do:\n      - delete: [OBX-17]\n        when: OBX-3 == "x"\n',
        "",
        18,
        5,
        4,
        "E103",
        "'each' lacks the key 'do'",
    ),
    ("  - to: ris\n", "  - to: ris\n  - when: PV1 exists\n", 27, 5, 1, "E103", "the key 'to' is missing"),
    ("PID-19]", "PID.19]", 23, 22, 1, "E131", "did you mean PID-19?"),
    ("PID-19]", "PID19]", 23, 22, 1, "E131", "did you mean PID-19?"),
    ("MSH-5: RIS", "MSH_5: RIS", 12, 10, 1, "E131", "did you mean MSH-5?"),
    ("PID-19]", "pid-19]", 23, 19, 1, "E131", "did you mean PID-19?"),
    ("PID-19]", "'PID-3[5=\"MR\"].1']", 23, 27, 1, "E131", 'did you mean PID-3[5=="MR"].1?'),
    ("- delete: [NTE, PID-19]", "- delete", 23, 5, 6, "E104", "write '- delete: ...'"),
    ("- delete: [NTE, PID-19]", "- when: PID exists", 23, 5, 4, "E102", "an entry without a step"),
    ("steps.py:split", "steps.py:splitt", 24, 22, 6, "E134", "did you mean 'split'?"),
    ("steps.py:split", "step.py:split", 24, 13, 7, "E132", "did you mean steps.py?"),
    ("steps.py:split", "steps.split", 24, 13, 11, "E134", "write file.py:function"),
    ("- to: ris", "- to: riss", 26, 9, 4, "E140", "did you mean 'ris'?"),
    ("  ris:\n", "  RIS!:\n", 30, 3, 4, "E146", "did you mean 'ris'?"),
    ("host: ris.local, ", "", 31, 5, 4, "E103", "'mllp' lacks the key 'host'"),
    ("30s", "30", 31, 54, 2, "E106", "did you mean 30s?"),
    ("    mllp: {host", "    mlp: {host", 31, 5, 3, "E101", "did you mean 'mllp'?"),
    ("on_refused: stop", "on_refused: wait", 32, 17, 4, "E105", "allowed: hold, retry, skip, stop"),
    ("24h", "1w", 35, 58, 1, "E106", "not a unit of time"),
    ("24h", "soon", 35, 57, 4, "E106", "none, a number of attempts, or a time"),
    ("first: 500ms, most: 2m", "first: 5m, most: 2m", 35, 30, 2, "E106", "shorter than the first wait"),
    ("first: 500ms, most: 2m", "first: 5m", 35, 12, 1, "E106", "such as {first: 5m, most: 30m}"),
    ("first: 500ms", "first: 0", 35, 20, 1, "E106", "from 10ms to 1d"),
    ("50%", "50", 35, 45, 2, "E106", "such as 20%"),
    ("window: 32", "window: 0", 36, 13, 1, "E106", "at least 1"),
    ("    file: {folder", "    sftp: {folder", 38, 5, 4, "E119", "mllp, file"),
    (
        "    file: {folder",
        "    window: 2\n    mllp: x\n    file: {folder",
        40,
        5,
        4,
        "E108",
        "one destination, one sink",
    ),
    (
        '    file: {folder: /data/orders, name: "{date(MSH-7)}/{MSH-10}.hl7"}',
        "    window: 1",
        37,
        3,
        7,
        "E103",
        "without a sink",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "column", "length", "code", "words"), MISTAKES)
def test_a_mistake_is_told_once_at_its_place(
    load: Load, old: str, new: str, line: int, column: int, length: int, code: str, words: str
) -> None:
    text = FULL.replace(old, new, 1)
    assert text != FULL
    findings = load(text, files=FILES).findings
    if new.endswith("mllp: x\n    file: {folder"):
        findings = [f for f in findings if f.code == "E108"]
    assert [(f.line, f.column, f.length, f.code) for f in findings] == [(line, column, length, code)]
    assert words in findings[0].message + " " + findings[0].hint


def test_no_message_speaks_of_the_machinery(load: Load) -> None:
    for old, new, *_ in MISTAKES:
        for finding in load(FULL.replace(old, new, 1), files=FILES).findings:
            told = (finding.message + finding.hint).lower()
            assert not any(w in told for w in ("pydantic", "input", "validat", "extra", "instance", "dict", "str "))


def test_what_a_later_version_has_is_refused_with_what_to_do_now(load: Load, channel: str) -> None:
    (finding,) = load(channel + "worklist: {}\n").findings
    assert (finding.code, finding.line, finding.column) == ("E119", 8, 1)
    assert "is a destination" in finding.hint
    (finding,) = load(channel.replace("mllp: {port: 2576}", "mllp: {port: 2576}\n  sftp: {port: 22}")).findings
    assert finding.code == "E119"


def test_a_missing_listen_is_told_at_the_top(load: Load, channel: str) -> None:
    (finding,) = load(channel.partition("routes")[2].join(["routes", ""])).findings
    assert (finding.line, finding.column, finding.code) == (1, 1, "E103")


def test_a_file_that_is_a_list_is_told_to_be_keys(load: Load) -> None:
    (finding,) = load("- listen\n- routes\n").findings
    assert (finding.line, finding.column, finding.code) == (1, 1, "E104")


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("*", "ADT^A01", True),
        ("ADT^*", "ADT^A01", True),
        ("ADT^A01", "ADT^*", False),
        ("ADT^*", "*", False),
        ("ADT^*", "ORU^R01", False),
    ],
)
def test_one_pattern_covers_another(wide: str, narrow: str, covers: bool) -> None:
    assert AcceptPattern(wide).covers(AcceptPattern(narrow)) is covers


def test_findings_can_be_compared(load: Load, channel: str) -> None:
    (finding,) = load(channel + "x: 1\n").findings
    assert replace(finding) == finding


def test_keys_that_are_not_indented_are_told_where_they_belong(load: Load) -> None:
    text = FULL.replace("      MSH-5: RIS", "    MSH-5: RIS", 1)
    assert text != FULL
    findings = load(text, files=FILES).findings
    assert ("E101", "indent it further if it belongs to 'set'") in [(f.code, f.hint) for f in findings]


def test_a_sink_without_a_space_after_the_colon_says_so(load: Load) -> None:
    old = "    mllp: {host: ris.local, port: 6661, ack_timeout: 30s}"
    text = FULL.replace(old, "    mllp:\n      host:ris.local", 1)
    assert text != FULL
    findings = load(text, files=FILES).findings
    assert ("E104", "a space is missing: host: ris.local") in [(f.code, f.hint) for f in findings]


@pytest.mark.parametrize("key", ["client_names: [his.example.org]", "client_crl: gone.crl"])
def test_what_is_said_of_senders_certificates_needs_their_authority(load: Load, key: str) -> None:
    text = "listen:\n  mllp:\n    port: 2575\n    tls:\n      certificate: a.crt\n      key: a.key\n      "
    files = {"a.crt": b"", "a.key": b"", "gone.crl": b""}
    site = load(text + key + "\n", files=files)
    (finding,) = [one for one in site.findings if one.is_error]
    assert (finding.code, finding.line) == ("E107", 5)
    assert "client_ca" in finding.message
    assert not [one for one in load(f"{text}client_ca: a.crt\n      {key}\n", files=files).findings if one.is_error]
