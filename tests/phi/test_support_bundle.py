"""A support bundle without patient data and secrets: markers in every field of the traffic, in the site's files where
texts may stand, in the environment and in a log that others wrote into; none of them is in it."""

import asyncio
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.app import Engine, load
from engine.cli.main import run as segmill
from engine.cli.scrubbing import scrubbed_log, scrubbed_text, scrubbed_yaml
from tests.phi.test_no_patient_data import (
    CHANNEL,
    DEAF_S,
    MARKER,
    OWN,
    OWN_STEPS,
    PROFILE,
    Mail,
    Seen,
    babble,
    exchange,
    quoting,
    receiver,
    until_settled,
)

SECRETS = ("hunter2secret", "from-the-environment-9", "a-default-77", "sesame-in-url", "Bearer-xyzzy", "key-in-map")

WITH_SECRETS = """
# {marker} was the patient we tried this with
description: For {marker} and others
listen: {{mllp: {{port: 0}}}}
accept: ["BAR^*"]
from: 'PID-5.1 == "{marker}"'
steps:
  - filter: not PID-3.1 in ["{marker}", '{marker}']
  - set: {{PID-5.1: "{marker}", ZZZ-1: =concat("{marker}", PID-3.1)}}
routes:
  - to: api
    when: 'PID-8 == "F" or PID-3.1 == "1234567890"'
destinations:
  api:
    http:
      url: https://user:sesame-in-url@api.example/in?patient={marker}
      headers: {{Authorization: Bearer-xyzzy, X-Key: key-in-map}}
      timeout: 30s
  mail:
    email:
      host: mail.local
      from: engine@hospital.example
      to: [it@hospital.example]
      subject: "About {marker}"
      username: operator
      password: ${{MAIL_PASSWORD}}
"""


async def test_neither_patients_nor_secrets_are_in_it(
    make_site: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    mail = Mail()
    env = {"MAIL_PASSWORD": "from-the-environment-9", "SITE_TOKEN": "hunter2secret"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    marked = WITH_SECRETS.format(marker=mail.marker())
    async with receiver(quoting) as refusing, receiver(babble) as babbling:
        site = make_site(
            {
                "all": {
                    "channel.yaml": CHANNEL.format(refusing=refusing, babbling=babbling, deaf=DEAF_S),
                    "tables/known.csv": f"from,to\nA,1\n{mail.marker()},{mail.marker()}\n",
                    "profile.yaml": PROFILE,
                    "cases/one/in.hl7": mail.message(),
                    "cases/one/expect.yaml": f"a: {mail.marker()}\n",
                    f"cases/{mail.marker()}/in.hl7": mail.message(),
                    "notes.txt": mail.marker(),
                },
                "own": {"channel.yaml": OWN, "steps.py": OWN_STEPS + f"# {mail.marker()}\n"},
            },
            f"environment: '${{STAGE:-a-default-77}}'\nadmin: {{port: 0}}\n# {mail.marker()}\n",
        )
        engine = Engine(load(site, env))
        with caplog.at_level(logging.DEBUG):
            await engine.start()
            try:
                for payload in mail.to_everywhere():
                    await exchange(engine.addresses["all"], payload)
                for payload in mail.to_own():
                    await exchange(engine.addresses["own"], payload)
                await until_settled(engine)
                # Its values are no matter of the engine's start, and of the bundle they are.
                (site / "channels" / "secret").mkdir()
                (site / "channels" / "secret" / "channel.yaml").write_text(marked)
                log = tmp_path / "engine.log"
                formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
                ours = [formatter.format(record) for record in caplog.records if record.name.startswith("segmill")]
                others = [
                    mail.message().decode("latin-1").replace("\r", "\n"),
                    f"Traceback (most recent call last):\n  File x\nValueError: {mail.marker()}",
                    f"2026-01-02 03:04:05,678 INFO segmill: PID|1||{mail.marker()}||{mail.marker()}",
                    f"2026-01-02 03:04:05,678 INFO segmill.lane: no row for '{mail.marker()}' and \"{mail.marker()}\"",
                    f"2026-01-02 03:04:05,678 INFO somebody.else: {mail.marker()}",
                    "2026-01-02 03:04:05,678 INFO segmill: the answer of 1234567890 was from-the-environment-9",
                ]
                log.write_text("\n".join([*ours, *others]))
                target = tmp_path / "bundle.zip"
                words = ["support-bundle", str(target), "--site", str(site), "--log", str(log)]
                assert await asyncio.to_thread(segmill, words) == 0
            finally:
                await engine.stop()
    seen = Seen()
    with zipfile.ZipFile(target) as bundle:
        for name in bundle.namelist():
            seen.add(name, name + "\n" + bundle.read(name).decode("utf-8"))
    names = {name.removeprefix("segmill-support/") for name in seen.texts}
    assert {"versions.txt", "doctor.json", "store.json", "status.json", "metrics.txt", "log-1.txt"} <= names
    assert {"site/segmill.yaml", "site/channels/all/channel.yaml", "site/channels/secret/channel.yaml"} <= names
    assert not seen.leaks, "\n".join(seen.leaks)
    for secret in (*SECRETS, "1234567890"):
        assert [name for name, text in seen.texts.items() if secret in text] == [], secret
    # What helps is there.
    assert "segmill_" in seen.texts["segmill-support/metrics.txt"]
    numbers = json.loads(seen.texts["segmill-support/store.json"].partition("\n")[2])
    assert numbers["messages"]["all"]["processed"] > 0
    assert numbers["newest"]["codes"]
    shown = seen.texts["segmill-support/site/channels/secret/channel.yaml"]
    assert 'PID-5.1 == "***"' in shown
    assert "https://api.example" in shown
    assert "timeout: '30s'" in shown
    assert "${MAIL_PASSWORD}" in shown
    assert "segmill" in seen.texts["segmill-support/log-1.txt"]
    assert target.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("port: 2575\n", "port: '2575'\n"),
        ("a: # secret\n  b: c\n", "a:\n  b: c\n"),
        ("password: x\nuser: y\ntoken: {a: b}\n", "password: '***'\nuser: '***'\ntoken: ***\n"),
        ("x: '${A:-secret}'\n", "x: '${A:-***}'\n"),
        ("x: 'pre${A}post'\n", "x: '***'\n"),
        ("set: {PID-5: MEIER, PID-6: =PID-5}\n", "set:\n  PID-5: '***'\n  PID-6: '=PID-5'\n"),
        ("map: {PV1-3: tables/w.csv}\n", "map:\n  PV1-3: tables/w.csv\n"),
        ("- a\n- b\n", "\n- a\n- b\n"),
        ("x: postgresql://u:p@db/x?password=y\n", "x: 'postgresql://db'\n"),
        ("a: [\n", "# x cannot be read\n"),
    ],
)  # fmt: skip
def test_a_file_of_the_site_is_shown_as_its_structure(given: str, shown: str) -> None:
    assert scrubbed_yaml(given.encode(), "x") == shown


def test_a_sentence_keeps_its_words_and_loses_what_was_quoted_in_it() -> None:
    assert scrubbed_text("no row for 'MEIER' of 4711123 at https://u:p@h:1/x?y=z") == (
        'no row for "***" of ####### at https://h:1'
    )


def test_of_a_log_the_lines_of_the_engine_stay() -> None:
    line = "2026-01-02 03:04:05,678 WARNING segmill.lane: lab/epr waits: password1"
    assert scrubbed_log([line, "other", "PID|1||x|y"], ["password1", "abc"]) == [
        "2026-01-02 03:04:05,678 WARNING segmill.lane: lab/epr waits: ***",
        "(2 lines of another form were left out)",
    ]
    assert MARKER.search("ZQ00001QZ") is not None
