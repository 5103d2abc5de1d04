"""What a destination says of deliveries that do not arrive: how it is written, and what is wrong where."""

import json

import jsonschema
import pytest
import yaml

from engine.config.actions import ActionText, Rules
from engine.config.schema import channel_schema
from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site
from engine.wiring import policy_of

CHANNEL = """\
listen:
  mllp: {port: 2576}
ack: {when: processed}
routes: [{to: ris}, {to: epr}]
destinations:
  ris:
    mllp: {host: ris, port: 1}
    KEY
  epr: {mllp: {host: epr, port: 2}}
  spare: {file: {folder: out}}
"""


def read(load, key: str, **more):
    return load(CHANNEL.replace("KEY", key), **more)


def policy(load, key: str):
    site = read(load, key)
    assert [f for f in site.findings if f.code != "W141"] == []
    return site.channels[0].file.destinations["ris"].policy


@pytest.mark.parametrize(
    "key",
    [
        "on_refused: hold",
        "on_rejected: retry",
        "on_unanswered: retry",
        "retry: {first: 2s, limit: 24h}",
        "on_refused: {204: skip, AE: hold, otherwise: hold}",
        'on_refused: {"204, 205": skip, AE: retry(3), CR: stop}',
        "on_refused: {AR: skip, 102: hold}",
        "on_rejected: {207: stop, AR: retry(2h) then skip, CE: redirect(spare)}",
        "on_refused: {ERR BUSY: retry(5)}",
        "on_unanswered: redirect(spare)",
        "on_unreachable: retry(15m) then redirect(spare)",
        "on_unreachable: retry(3) then stop",
        "on_unsendable: redirect(spare)",
    ],
)
def test_what_can_be_written(load, kinds, key):
    policy(load, key)
    schema = channel_schema(kinds)
    jsonschema.Draft7Validator(schema).validate(
        json.loads(json.dumps(_as_an_editor_reads(CHANNEL.replace("KEY", key))))
    )


def _as_an_editor_reads(text: str):
    def texts(value):
        if isinstance(value, dict):
            return {str(key): texts(item) for key, item in value.items()}
        return [texts(item) for item in value] if isinstance(value, list) else value

    return texts(yaml.safe_load(text))


def test_what_is_written_is_what_the_lane_gets(load):
    given = policy(load, "on_refused: {204: skip, AE: retry(3) then redirect(spare)}\n    on_unreachable: retry(15m)")
    made = policy_of(given)
    assert made.on_refused.otherwise.kind == "hold", "what is not said is as without a word"
    assert made.on_refused.by_code["204"].kind == "skip"
    ae = made.on_refused.by_code["AE"]
    assert (ae.kind, ae.most_attempts, ae.then, ae.to) == ("retry", 3, "redirect", "spare")
    assert (made.on_unreachable.kind, made.on_unreachable.most_age_s) == ("retry", 900.0)
    assert (made.on_rejected.otherwise.kind, made.on_unanswered.kind, made.on_unsendable.kind) == (
        "retry",
        "retry",
        "hold",
    )


@pytest.mark.parametrize(
    ("key", "column", "code", "hint"),
    [
        ("on_refused: hld", 17, "E105", "did you mean 'hold'?"),
        ("on_refused: redirect", 17, "E105", "redirect(other)"),
        ("on_refused: to spare", 17, "E105", "did you mean redirect(spare)?"),
        ("on_refused: retry then skip", 17, "E105", "retry(3) then skip"),
        ("on_refused: retry(3) then retry", 17, "E105", "after then stands"),
        ("on_refused: retry(0)", 23, "E106", "a number of attempts"),
        ("on_refused: retry(3x)", 23, "E106", "units"),
        ("on_refused: retry()", 23, "E106", "a number of attempts"),
        ("on_refused: [hold]", 17, "E104", "{204: skip"),
        ("on_refused: {}", 17, "E106", "{204: skip"),
        ("on_refused: {AE: hld}", 22, "E105", "did you mean 'hold'?"),
        ("on_refused: {AE: {then: skip}}", 22, "E104", ""),
        ("on_refused: {AA: hold}", 18, "E105", "needs no action"),
        ("on_refused: {ae: hold}", 18, "E105", "did you mean AE?"),
        ("on_refused: {other: hold}", 18, "E105", "did you mean 'otherwise'?"),
        ("on_refused: {busy: hold}", 18, "E105", "ERR X"),
        ("on_refused: {'204, 2O5': hold}", 24, "E105", ""),
        ("on_refused: {'204, 205': hold, 205: skip}", 36, "E109", "leave one"),
        ("on_rejected: {AE: hold}", 19, "E105", "on_refused"),
        ("on_rejected: {204: hold}", 19, "E105", "on_refused"),
        ("on_unsendable: retry", 20, "E107", "hold, skip or redirect"),
        ("on_unreachable: {AE: hold}", 21, "E104", ""),
        ("on_unreachable: redirect(spar)", 30, "E140", "did you mean 'spare'?"),
        ("on_unreachable: retry(3) then redirect(spar)", 44, "E140", "did you mean 'spare'?"),
        ("on_refused: {204: redirect(spar)}", 32, "E140", "did you mean 'spare'?"),
        ("on_unreachable: redirect(ris)", 30, "E180", "another"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands_and_what_to_do(load, key, column, code, hint):
    findings = [f for f in read(load, key).findings if f.code not in ("W141",)]
    assert [(f.line, f.column, f.code) for f in findings] == [(8, column, code)]
    assert hint in findings[0].hint


def test_redirects_in_a_circle_are_told_once_with_the_way(load):
    text = CHANNEL.replace("KEY", "on_unreachable: redirect(epr)").replace(
        "epr: {mllp: {host: epr, port: 2}}",
        "epr: {mllp: {host: epr, port: 2}, on_refused: {204: redirect(spare)}, on_unreachable: redirect(spare)}",
    )
    assert [f.code for f in load(text).findings] == []
    text = text.replace("{folder: out}", "{folder: out}, on_unsendable: redirect(ris)")
    (finding,) = load(text).findings
    assert (finding.code, finding.line) == ("E180", 10)
    assert "ris -> epr -> spare -> ris" in finding.message


def test_a_destination_that_only_takes_over_needs_no_route(load):
    assert [f.code for f in read(load, "on_refused: hold").findings] == ["W141"]
    assert read(load, "on_refused: redirect(spare)").findings == []


def test_where_senders_wait_for_the_answer_no_other_takes_over(load):
    text = CHANNEL.replace("KEY", "on_refused: redirect(spare)").replace("processed", "delivered(ris)")
    (finding,) = load(text).findings
    assert (finding.code, finding.line, finding.column) == ("E182", 8, 26)
    back = "{app_ack: connect-back, connect_back: {host: his, port: 1, on_unreachable: redirect(spare)}}"
    text = CHANNEL.replace("KEY", "on_refused: hold").replace("{when: processed}", back)
    (finding,) = [f for f in load(text).findings if f.code != "W141"]
    assert (finding.code, finding.line) == ("E182", 3)


@pytest.mark.parametrize(
    ("before", "after", "codes"),
    [
        ("", "", []),
        ("charset: 8859/1", "charset: UNICODE UTF-8", []),
        ("format: json", "", []),
        ("format: json", "format: json", []),
        ("format: hl7", "format: xml", []),
        ("format: json", "format: xml", ["E181"]),
        ("format: json", "charset: 8859/1", ["E181"]),
        ("format: xml", "format: hl7", ["E181"]),
    ],
)
def test_what_takes_over_can_be_given_what_the_first_was_to_get(tmp_path, before, after, codes):

    text = (
        "listen:\n  mllp: {port: 2576, host: 127.0.0.1}\nroutes: [{to: a}]\ndestinations:\n"
        f"  a: {{file: {{folder: a}}, on_unreachable: redirect(b){', ' + before if before else ''}}}\n"
        f"  b: {{file: {{folder: b}}{', ' + after if after else ''}}}\n"
    )
    findings = load_site(make_site(tmp_path / "s", {"orders": text}), load_kinds(), {}).findings
    assert [f.code for f in findings] == codes
    assert all(text.splitlines()[f.line - 1][f.column - 1] == "b" for f in findings)


def test_an_mllp_receiver_cannot_take_over_json(tmp_path):

    text = (
        "listen:\n  mllp: {port: 2576, host: 127.0.0.1}\nroutes: [{to: a}]\ndestinations:\n"
        "  a: {file: {folder: a}, format: json, on_unreachable: redirect(b)}\n  b: {mllp: {host: h, port: 1}}\n"
    )
    (finding,) = load_site(make_site(tmp_path / "s", {"orders": text}), load_kinds(), {}).findings
    assert (finding.code, finding.line) == ("E181", 5)
    assert "cannot carry" in finding.message


def test_an_action_that_code_makes_reads_as_one_of_a_file():
    action = ActionText("retry( 2h )  then redirect( spare )")
    action.check()
    assert (action.kind, action.limit_s, action.then, action.destination) == ("retry", 7200, "redirect", "spare")
    assert action[action.destination_column :].startswith("spare")
    assert str(Rules({"204": ActionText("skip")}, ActionText("hold"))) == "204: skip"
