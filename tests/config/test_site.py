"""A site's folder as a whole: what is read, what makes a version, and channels beside each other."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config import files as files_module
from engine.config.finding import ConfigFinding
from engine.config.kinds import Kinds
from engine.config.site import LoadedSite, load_site, load_version

Load = Callable[..., LoadedSite]


def on_port(port: int, *, accept: str = "[ADT^A01]", more: str = "", mllp: str = "") -> str:
    return (
        f"listen:\n  mllp: {{port: {port}{mllp}}}\naccept: {accept}\n{more}"
        "routes:\n  - to: out\ndestinations:\n  out:\n    file: {folder: out}\n"
    )


def told(findings: list[ConfigFinding]) -> list[tuple[str, int, str]]:
    return [(f.file, f.line, f.code) for f in findings]


def test_a_site_without_settings_has_the_defaults(load: Load, channel: str) -> None:
    site = load(channel)
    assert site.site is not None
    assert site.is_valid
    assert (site.site.data, site.site.store, site.site.environment) == ("data", "sqlite:data/segmill.db", "")
    assert site.site.admin is not None
    assert (site.site.admin.host, site.site.admin.port) == ("127.0.0.1", 9464)


def test_settings_that_are_all_comments_are_the_defaults_and_an_empty_file_is_doubted(load: Load, channel: str) -> None:
    assert load(channel, settings="# data: /var/lib/x\n\n  # admin: off\n").is_valid
    assert told(load(channel, settings="\n").findings) == [("segmill.yaml", 1, "E109")]


def test_settings_are_read_and_replaced(load: Load, channel: str) -> None:
    settings = "environment: ${STAGE:-test}\ndata: /var/lib/x\nstore: 'memory:'\nadmin: off\nworkers: {deadline: 3s}\n"
    site = load(channel, settings=settings).site
    assert site is not None
    assert (site.environment, site.data, site.store_kind, site.admin) == ("test", "/var/lib/x", "memory", None)
    assert site.workers.deadline == 3
    sqlite = load(channel, settings="store: sqlite:x/y.db\n").site
    assert sqlite is not None
    assert (sqlite.store_kind, sqlite.store_path) == ("sqlite", "x/y.db")


@pytest.mark.parametrize(
    ("settings", "line", "column", "code"),
    [
        ("enviroment: x\n", 1, 1, "E101"),
        ("a: 1\nadmin: on\n", 2, 8, "E105"),
        ("store: mysql:x\n", 1, 8, "E107"),
        ("store: postgresql://x\n", 1, 8, "E119"),
        ("users: {anna: x}\n", 1, 1, "E119"),
        ("limits: {free_disk: -1}\n", 1, 21, "E106"),
        ("workers: {memory: 1KB}\n", 1, 19, "E106"),
        ("data: ''\n", 1, 7, "E107"),
    ],
)
def test_a_mistake_in_the_settings_has_its_place_and_channels_are_read_all_the_same(
    load: Load, channel: str, settings: str, line: int, column: int, code: str
) -> None:
    site = load(channel, settings=settings)
    assert ("segmill.yaml", line, column, code) in [(f.file, f.line, f.column, f.code) for f in site.findings]
    assert site.site is None
    assert not site.is_valid
    assert len(site.channels) == 1


def test_metrics_that_others_can_read_are_warned_of(load: Load, channel: str) -> None:
    site = load(channel, settings="admin: {host: 0.0.0.0}\n")
    assert told(site.findings) == [("segmill.yaml", 1, "W149")]
    assert site.is_valid


def test_channels_are_in_order_of_name_and_one_with_errors_is_left_out(load: Load, channel: str) -> None:
    other = channel.replace("2576", "2577")
    site = load({"b": channel, "a": other, "c": "x: 1\n"})
    assert [c.name for c in site.channels] == ["a", "b"]
    assert {f.file for f in site.findings} == {"channels/c/channel.yaml"}
    assert not site.is_valid


def test_what_makes_a_version_is_read_once_and_kept(load: Load, channel: str) -> None:
    text = channel + "steps:\n  - map: {PV1-3.1: tables/w.csv}\n  - python: steps.py:f\n"
    files = {
        "tables/w.csv": "from,to\na,b\n",
        "steps.py": "import helper\ndef f(m, c): ...\n",
        "helper.py": "",
        "README.md": "x",
        "cases/one/in.hl7": "x",
        "cases/one/t.csv": "no table",
        "key.pem": "private",
    }
    (loaded,) = load(text, files=files).channels
    assert sorted(loaded.files) == ["channel.yaml", "helper.py", "steps.py", "tables/w.csv"]
    assert loaded.tables["tables/w.csv"].lookup("a") is not None
    assert loaded.positions["listen", "mllp", "port"].column == 16
    assert loaded.positions["steps", 1, "python"].line == 10


def test_a_recorded_version_needs_no_folder_and_no_certificates(load: Load, channel: str, kinds: Kinds) -> None:
    text = channel.replace("{port: 2576}", "{port: 2576, tls: {certificate: c.pem, key: k.pem}}")
    text += "steps:\n  - map: {PV1-3.1: w.csv}\n"
    (loaded,) = load(text, files={"w.csv": "from,to\na,b\n", "c.pem": "x", "k.pem": "secret"}).channels
    assert b"secret" not in b"".join(loaded.files.values())
    again, findings = load_version("orders", loaded.files, kinds)
    assert findings == []
    assert again is not None
    assert again.tables["w.csv"].lookup("a") is not None
    missing = {k: v for k, v in loaded.files.items() if k != "w.csv"}
    none, findings = load_version("orders", missing, kinds)
    assert none is None
    assert [f.code for f in findings] == ["E132"]


def test_a_table_may_be_shared_inside_of_the_site_and_not_lie_outside(load: Load, channel: str, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("from,to\na,b\n")
    step = "steps:\n  - map: {{PV1-3.1: {}}}\n"
    inside = load({"orders": channel + step.format("../../shared.csv"), "_x": {"y": "z"}})
    assert told(inside.findings) == [("channels/orders/channel.yaml", 9, "E132")]
    (tmp_path / "site/shared.csv").write_text("from,to\na,b\n")
    site = load(channel + step.format("../../shared.csv"))
    assert site.findings == []
    assert "../../shared.csv" in site.channels[0].files
    for path in ("../../../outside.csv", str(tmp_path / "outside.csv")):
        (finding,) = load(channel + step.format(path)).findings
        assert (finding.code, "outside of the site" in finding.message) == ("E132", True)


def test_mistakes_in_a_table_are_told_in_the_table(load: Load, channel: str) -> None:
    text = channel + "steps:\n  - map: {PV1-3.1: tables/w.csv}\n"
    (finding,) = load(text, files={"tables/w.csv": "from,to\na,b\na,c\n"}).findings
    assert (finding.file, finding.line, finding.code) == ("channels/orders/tables/w.csv", 3, "E153")


def test_a_table_can_be_named_in_an_expression(load: Load, channel: str) -> None:
    step = 'steps:\n  - set:\n      PID-8: =table("tables/{}", PID-8)\n'
    files = {"tables/sex.csv": "from,to\nF,2\n"}
    assert load(channel + step.format("sex.csv"), files=files).findings == []
    (finding,) = load(channel + step.format("sx.csv"), files=files).findings
    assert (finding.line, finding.column, finding.code) == (10, 21, "E130")


@pytest.mark.parametrize(
    ("source", "line", "code"),
    [
        ("def f(m, c): ...\n", None, None),
        ("from helper import f\n", None, None),
        ("f = lambda m: None\n", None, None),
        ("async def f(m, c): ...\n", 9, "E134"),
        ("def g(m, c): ...\n", 9, "E134"),
        ("def f(m): ...\n", 9, "E134"),
        ("def f(m, c, x): ...\n", 9, "E134"),
        ("def f(m, c, *, x): ...\n", 9, "E134"),
        ("def f(*both, x=1): ...\n", None, None),
        ("def f(m, c=None, x=1): ...\n", None, None),
        ("def f(m, c)\n", 1, "E135"),
        ("x = '\\d'\ndef f(m, c): ...\n", None, None),
        ("x = 1\n\ny = (\n", 3, "E135"),
    ],
)
def test_a_python_step_is_looked_at_and_not_run(
    load: Load, channel: str, source: str, line: int | None, code: str | None
) -> None:
    bomb = "raise SystemExit\n" if code is None else ""
    findings = load(channel + "steps:\n  - python: steps.py:f\n", files={"steps.py": source + bomb}).findings
    assert [(f.line, f.code) for f in findings] == ([] if code is None else [(line, code)])


def test_a_certificate_that_is_not_there_is_told_where_it_is_named(load: Load, channel: str) -> None:
    text = channel.replace("{port: 2576}", "{port: 2576, tls: {certificate: c.pem, key: k.pem}}")
    findings = load(text, files={"c.pem": "x"}).findings
    assert [(f.line, f.column, f.code) for f in findings] == [(2, 53, "E132")]


def test_a_site_says_what_it_lacks(kinds: Kinds, tmp_path: Path) -> None:
    assert told(load_site(tmp_path / "none", kinds, {}).findings) == [(str(tmp_path / "none"), 0, "E100")]
    assert [f.code for f in load_site(tmp_path, kinds, {}).findings] == ["E100"]
    (tmp_path / "channels").mkdir()
    assert told(load_site(tmp_path, kinds, {}).findings) == [("channels", 0, "E100")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_told(load: Load, channel: str, tmp_path: Path) -> None:
    load(channel)
    (tmp_path / "site/channels/orders/channel.yaml").chmod(0)
    assert told(load({}).findings) == [("channels/orders/channel.yaml", 0, "E100")]


@pytest.mark.parametrize("shut", ["channels", "channels/empty"])
def test_a_folder_that_may_be_entered_and_not_listed_is_told(
    load: Load, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shut: str
) -> None:
    load(channel)
    (tmp_path / "site/channels/empty").mkdir()
    listed = Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:  # as root, who may do all, has it no other way
        if self == tmp_path / "site" / shut:
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    (finding,) = load({}).findings
    assert (finding.file, finding.code, finding.message) == (shut, "E100", "cannot be read: Permission denied")
    assert "rights to read and enter" in finding.hint


def test_settings_that_cannot_be_read_are_told(load: Load, channel: str, tmp_path: Path) -> None:
    (tmp_path / "site/segmill.yaml").mkdir(parents=True)
    site = load(channel)
    assert told(site.findings) == [("segmill.yaml", 0, "E100")]
    assert site.site is None


def test_a_file_that_is_no_text_or_no_yaml_is_told(load: Load, channel: str) -> None:
    site = load({"a": {"channel.yaml": b"description: \xff\n"}, "b": "a: [\n", "c": channel})
    assert told(site.findings) == [("channels/a/channel.yaml", 1, "E116"), ("channels/b/channel.yaml", 1, "E112")]
    assert [c.name for c in site.channels] == ["c"]


def test_a_table_that_is_too_large_is_not_read(load: Load, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MAX_FILE_BYTES", 1000)
    (finding,) = load(channel, files={"tables/w.csv": "from,to\n" * 1000}).findings
    assert (finding.file, finding.code) == ("channels/orders/tables/w.csv", "E132")
    assert "larger" in finding.message


def test_a_folder_without_a_channel_file_is_warned_of_with_the_name_that_was_meant(load: Load, channel: str) -> None:
    site = load({"orders": channel, "labs": {"chanel.yaml": channel}, ".git": {"x": ""}, "_old": {"x": ""}})
    assert told(site.findings) == [("channels/labs", 0, "W148")]
    assert "rename chanel.yaml to channel.yaml" in site.findings[0].hint


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("folder", "it is a folder"),
        ("pipe", "it is no file"),
        ("link to itself", "Too many levels of symbolic links"),
        ("link to nothing", "the link leads nowhere"),
    ],
)
def test_a_channel_file_that_is_no_file_is_an_error_not_a_channel_less(
    tmp_path: Path, load: Load, kinds: Kinds, channel: str, kind: str, reason: str
) -> None:
    """A warning would let a reload take the channel away while its folder is there."""
    load({"labs": channel, "orders": channel})
    file = tmp_path / "site/channels/labs/channel.yaml"
    file.unlink()
    match kind:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "link to itself":
            file.symlink_to("channel.yaml")
        case _:
            file.symlink_to("elsewhere/channel.yaml")
    (finding,) = load_site(tmp_path / "site", kinds, {}).findings
    assert (finding.file, finding.code) == ("channels/labs/channel.yaml", "E100")
    assert finding.message == f"cannot be read: {reason}"
    assert "rename" not in finding.hint


def test_a_channels_folder_that_is_a_link_to_nowhere_is_an_error(
    tmp_path: Path, load: Load, kinds: Kinds, channel: str
) -> None:
    load({"orders": channel})
    (tmp_path / "site/channels/labs").symlink_to("/nowhere/labs")
    (tmp_path / "site/channels/.hidden").symlink_to("/nowhere/hidden")
    assert told(load_site(tmp_path / "site", kinds, {}).findings) == [("channels/labs", 0, "E100")]


def test_a_folder_of_the_site_is_no_name_for_a_channel_file(load: Load, channel: str) -> None:
    """Its hint is to rename a file; a folder called channels inside is none."""
    (finding,) = load({"orders": channel, "labs": {"channels/x.txt": ""}}).findings
    assert (finding.code, finding.hint) == ("W148", "add it, or move the folder out of channels/")


def test_a_table_that_is_a_pipe_is_not_waited_for(tmp_path: Path, load: Load, kinds: Kinds, channel: str) -> None:
    load(channel + "steps:\n  - map: {PID-8: tables/sex.csv}\n", files={"tables/other.csv": "from,to\n"})
    os.mkfifo(tmp_path / "site/channels/orders/tables/sex.csv")
    (finding,) = load_site(tmp_path / "site", kinds, {}).findings
    assert (finding.code, finding.message) == ("E132", "cannot read tables/sex.csv: it is no file")


@pytest.mark.parametrize("name", ["Orders", "my_orders", "-x", "a" * 64])
def test_a_name_that_cannot_be_one_is_refused(load: Load, channel: str, name: str) -> None:
    assert told(load({name: channel}).findings) == [(f"channels/{name}", 0, "E146")]


def test_channels_may_share_a_port_and_all_its_settings(load: Load) -> None:
    site = load({"a": on_port(2575), "b": on_port(2575, accept="[ORU^R01]")})
    assert site.findings == []
    site = load({"a": on_port(2575), "b": on_port(2575, accept="[ORU^R01]", mllp=", host: '::1', max_message: 1MB")})
    assert [(f.file, f.line, f.column, f.code) for f in site.findings] == [
        ("channels/b/channel.yaml", 2, 28, "E142"),
        ("channels/b/channel.yaml", 2, 48, "E142"),
    ]
    site = load({"a": on_port(2575, mllp=", max_connections: 5"), "b": on_port(2575, accept="[ORU^R01]")})
    assert [(f.file, f.line, f.column, f.code) for f in site.findings] == [("channels/b/channel.yaml", 2, 16, "E142")]


def test_a_free_port_is_shared_with_nobody(load: Load) -> None:
    assert load({"a": on_port(0), "b": on_port(0, mllp=", max_message: 1MB")}).findings == []


def test_a_channel_that_no_message_reaches_is_warned_of(load: Load) -> None:
    findings = load({"a": on_port(2575, accept="[ADT^*]"), "b": on_port(2575, accept="[ADT^A01, ADT^A08]")}).findings
    assert told(findings) == [("channels/b/channel.yaml", 3, "W143")]
    assert "no message reaches this channel" in findings[0].message


def test_a_pattern_that_no_message_reaches_is_marked(load: Load) -> None:
    findings = load({"a": on_port(2575, accept="[ADT^*]"), "b": on_port(2575, accept="[ORU^R01, ADT^A08]")}).findings
    assert [(f.line, f.column, f.code) for f in findings] == [(3, 19, "W143")]


def test_a_condition_lets_messages_through_to_the_next(load: Load) -> None:
    first = on_port(2575, accept="[ADT^*]", more='from: MSH-3 == "HIS"\n')
    assert load({"a": first, "b": on_port(2575)}).findings == []


def test_an_earlier_channel_is_not_in_the_way_of_itself_or_others_ports(load: Load) -> None:
    assert load({"a": on_port(2575, accept="['*']"), "b": on_port(2576)}).findings == []


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("0.0.0.0", 1), ("his", 1)]
)
def test_plain_text_beyond_this_machine_is_warned_of(load: Load, host: str, warned: int) -> None:
    findings = load({"a": on_port(2575, mllp=f", host: '{host}'")}).findings
    assert told(findings) == [("channels/a/channel.yaml", 2, "W144")] * warned


def test_who_may_send_to_an_open_port_is_asked_for(load: Load) -> None:
    (finding,) = load({"a": on_port(2575, mllp=", host: 0.0.0.0")}).findings
    assert "anybody may send" in finding.message
    (finding,) = load({"a": on_port(2575, mllp=", host: 0.0.0.0, allow: [10.0.0.0/8]")}).findings
    assert "anybody" not in finding.message


def test_routes_and_destinations_are_compared(load: Load, channel: str) -> None:
    (finding,) = load(channel + "  unused:\n    file: {folder: x}\n").findings
    assert (finding.line, finding.column, finding.code) == (8, 3, "W141")
    (finding,) = load("listen:\n  mllp: {port: 1}\n").findings
    assert finding.code == "W145"
    codes = [f.code for f in load(channel.replace("destinations", "destination")).findings]
    assert codes == ["E101"]
    codes = [f.code for f in load(channel.replace("routes", "rotes")).findings]
    assert codes == ["E101"]


def test_reading_a_site_writes_nothing(load: Load, channel: str, tmp_path: Path) -> None:
    load(channel, files={"steps.py": "def f(m, c): ...\n"})
    before = sorted(tmp_path.rglob("*"))
    load({})
    assert sorted(tmp_path.rglob("*")) == before
