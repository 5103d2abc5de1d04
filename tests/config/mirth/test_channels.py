"""Exports of Mirth Connect as channels: what is carried over, what is left to do, and what is refused."""

import base64
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.mirth.channel import Imported, imported
from engine.config.mirth.export import MAX_BYTES, ExportError, read_export
from engine.config.mirth.report import Item
from engine.config.site import LoadedSite, load_site
from engine.config.source import load_yaml
from engine.pipeline.registry import load_kinds
from engine.testing.sites import make_site

SAMPLES = Path(__file__).parents[3] / "samples" / "mirth"
FEED = (SAMPLES / "adt_feed.xml").read_text()
BACKUP = (SAMPLES / "server_backup.xml").read_text()

STEPS = "com.mirth.connect.plugins."


def made_of(xml: str) -> Imported:
    return imported(read_export(xml.encode()))


def texts(xml: str) -> dict[str, str]:
    return {one.name: one.text for one in made_of(xml).channels}


def loaded(tmp_path: Path, channels: dict[str, str]) -> LoadedSite:
    files = {name: {"channel.yaml": text} for name, text in channels.items()}
    return load_site(make_site(tmp_path, files), load_kinds(), {"BILLING_DATABASE_PASSWORD": "x"})


def errors(site: LoadedSite) -> list[str]:
    return [f"{f.file}:{f.line} {f.code} {f.message}" for f in site.findings if f.is_error]


def told(xml: str, fate: str) -> list[str]:
    return [f"{item.what}: {item.text}" for item in made_of(xml).items if item.fate == fate]


def feed_with(old: str, new: str, count: int = 1) -> str:
    assert old in FEED, old
    return FEED.replace(old, new, count)


def with_step(element: str) -> str:
    """The feed with one step in the place of all of its source's."""
    before, behind = FEED.split("<elements>", 1)
    return f"{before}<elements>{element}</elements>{behind.split('</elements>', 1)[1]}"


def builder(target: str, mapping: str, default: str = "", name: str = "a step") -> str:
    return (
        f"<{STEPS}messagebuilder.MessageBuilderStep><name>{name}</name><sequenceNumber>0</sequenceNumber>"
        f"<enabled>true</enabled><messageSegment>{target}</messageSegment><mapping>{mapping}</mapping>"
        f"<defaultValue>{default}</defaultValue><replacements/></{STEPS}messagebuilder.MessageBuilderStep>"
    )


def script(text: str) -> str:
    return (
        f"<{STEPS}javascriptstep.JavaScriptStep><name>a script</name><sequenceNumber>0</sequenceNumber>"
        f"<enabled>true</enabled><script>{text}</script></{STEPS}javascriptstep.JavaScriptStep>"
    )


# -- a whole export ---------------------------------------------------------------------------------


def test_the_feed_becomes_a_channel_that_a_check_lets_through(tmp_path: Path):
    site = loaded(tmp_path, texts(FEED))
    assert errors(site) == []
    channel = site.channels[0].file
    assert channel.listen.source == "mllp"
    assert channel.listen.options.port == 6661
    assert [step.kind for step in channel.steps] == ["filter", "set", "set", "set", "set", "delete", "delete"]
    assert [(route.to, route.when) for route in channel.routes] == [
        ("to-ris", 'PV1-2.1 in ["I", "O", "E"]'),
        ("archive", 'MSH-11.1 == "P"'),
        ("ward-board", None),
    ]
    ris = channel.destinations["to-ris"].policy
    assert (ris.lanes, ris.order_by, ris.retry.first, ris.retry.most) == (4, 'replace(PID-3.1, "-", "")', 5.0, 5.0)
    assert channel.destinations["ward-board"].policy.retry.limit_attempts == 4
    assert channel.destinations["archive"].options.name == '{date(MSH-7, "%Y%m%d")}_{PV1-19.1}_{seq}.hl7'
    assert channel.retention.bodies == 30 * 86400


def test_what_is_left_of_the_feed_is_told_with_its_line():
    items = [item for item in made_of(FEED).items if item.fate == "todo"]
    assert [item.what for item in items] == [
        "preprocessingScript",
        'step 7 "ward of the bed"',
        'Ward board, filter rule 1 "a known ward"',
    ]
    lines = FEED.split("\n")
    for item, tag in zip(items, ["preprocessingScript", "JavaScriptStep", "RuleBuilderRule"], strict=True):
        assert tag in lines[item.line - 1]
        assert item.place.startswith("/channel/")
    (text,) = texts(FEED).values()
    marked = [line for line in text.split("\n") if "# to do:" in line]
    assert len(marked) == len(items)
    assert "#   var ward = lookupWard(" in text


def test_every_element_of_the_source_is_in_the_report():
    whats = [item.what for item in made_of(FEED).items]
    for what in ("filter rule 1", "filter rule 2", "filter rule 3", "filter rule 4"):
        assert any(one.startswith(what) for one in whats)
    for number in range(1, 9):
        assert any(one.startswith(f"step {number} ") for one in whats)


def test_a_server_backup_becomes_a_channel_for_each_that_is_hl7(tmp_path: Path):
    channels = texts(BACKUP)
    assert sorted(channels) == ["billing", "nightly-export", "orders", "orders-pacs-gateway", "results-from-files"]
    assert errors(loaded(tmp_path, channels)) == []
    assert "of the group Radiology" in channels["orders"]


def test_what_a_backup_has_beside_its_channels_is_left_to_do():
    left = [item.what for item in made_of(BACKUP).items if not item.channel]
    assert left == ['code template "lookupWard"', 'global script "Deploy"']


def test_a_channel_of_another_data_type_is_not_written_and_that_is_told():
    told_of_it = [item for item in made_of(BACKUP).items if item.channel == "Device readings"]
    assert [(item.fate, item.what) for item in told_of_it] == [("todo", "data type")]
    assert "JSON" in told_of_it[0].text


def test_a_channel_writer_sends_to_the_port_of_its_channel_reader(tmp_path: Path):
    channels = {str(one.name): one.file for one in loaded(tmp_path, texts(BACKUP)).channels}
    port = channels["billing"].listen.options.port
    target = channels["orders"].destinations["billing"]
    assert (target.sink, target.options.host, target.options.port) == ("mllp", "127.0.0.1", port)
    assert channels["billing"].listen.options.host == "127.0.0.1"


def test_a_destination_with_steps_of_its_own_beside_others_is_a_channel_of_its_own(tmp_path: Path):
    channels = {str(one.name): one.file for one in loaded(tmp_path, texts(BACKUP)).channels}
    apart = channels["orders-pacs-gateway"]
    assert [step.kind for step in apart.steps] == ["set", "each"]
    assert apart.destinations["out"].options.host == "pacs.hospital.example"
    assert channels["orders"].destinations["pacs-gateway"].options.port == apart.listen.options.port
    assert channels["orders"].steps[0].kind == "filter"
    assert len(channels["orders"].steps) == 1


def test_ports_of_the_site_and_of_the_export_are_not_given_to_other_channels():
    export = read_export(BACKUP.replace("<port>6670</port>", "<port>26001</port>").encode())
    text = {one.name: one.text for one in imported(export, ports={26002}).channels}
    assert "port: 26003" in text["billing"]


def test_no_password_is_copied_and_its_variable_is_told():
    for xml in (FEED, BACKUP):
        for text in texts(xml).values():
            assert "not-a-secret" not in text
        assert not any("not-a-secret" in item.text for item in made_of(xml).items)
    assert [text for text in told(BACKUP, "fill-in") if "BILLING_DATABASE_PASSWORD" in text]


def test_the_answer_of_a_destination_becomes_that_of_the_channel():
    assert "ack: {when: delivered(ris)}" in texts(BACKUP)["orders"]


@pytest.mark.parametrize(
    ("settings", "line", "fate"),
    [
        ("Auto-generate (Before processing)", "ack: {when: stored}", "carried"),
        ("Auto-generate (Destinations completed)", None, "differs"),
        ("None", None, "differs"),
        ("d1", "ack: {when: delivered(to-ris)}", "carried"),
        ("d2", None, "differs"),
        ("Postprocessor", None, "todo"),
    ],
)
def test_response_settings_become_the_acknowledgment(settings: str, line: str | None, fate: str):
    xml = feed_with("Auto-generate (After source transformer)", settings)
    (text,) = texts(xml).values()
    assert (line is None) == ("\nack:" not in text)
    assert line is None or line in text
    assert any(one.startswith("response:") for one in told(xml, fate))


def test_a_source_queue_answers_before_the_steps():
    xml = feed_with("<respondAfterProcessing>true<", "<respondAfterProcessing>false<")
    assert "ack: {when: stored}" in texts(xml)["adt-feed"]


# -- filters and steps ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "condition"),
    [
        ("EXISTS", "PID-8.1 is not empty"),
        ("NOT_EXIST", "PID-8.1 is empty"),
        ("EQUALS", 'PID-8.1 == "F"'),
        ("NOT_EQUAL", 'PID-8.1 != "F"'),
        ("CONTAINS", 'PID-8.1 contains "F"'),
        ("NOT_CONTAIN", 'PID-8.1 not contains "F"'),
    ],
)
def test_each_condition_of_the_rule_builder_is_said(test: str, condition: str):
    rule = (
        f"<{STEPS}rulebuilder.RuleBuilderRule><name>r</name><field>msg['PID']['PID.8']['PID.8.1'].toString()</field>"
        f"<condition>{test}</condition><values><string>'F'</string></values></{STEPS}rulebuilder.RuleBuilderRule>"
    )
    head, _, tail = FEED.partition('<filter version="4.5.2">')
    xml = f"{head}<filter><elements>{rule}</elements></filter>{tail.partition('</filter>')[2]}"
    (text,) = texts(xml).values()
    quoted = condition if '"' not in condition else f"'{condition}'"
    assert f"    filter: {quoted}\n" in text


def test_a_rule_that_cannot_be_said_lets_everything_through_and_is_marked():
    xml = feed_with("EQUALS</condition>", "MATCHES</condition>")
    (text,) = texts(xml).values()
    assert 'filter: \'MSH-9.2 in ["A01", "A03", "A08"]' in text
    assert any("lets everything through" in one for one in told(xml, "todo"))


def test_an_or_with_a_rule_that_cannot_be_said_filters_nothing():
    """To keep the other side of an `or` alone would filter messages that Mirth lets through."""
    xml = feed_with("<operator>AND</operator>", "<operator>OR</operator>", 3)
    xml = xml.replace("<condition>EXISTS</condition>", "<condition>MATCHES</condition>")
    assert "filter:" not in texts(xml)["adt-feed"]


@pytest.mark.parametrize(
    ("target", "mapping", "step"),
    [
        ("msg['PID']['PID.8']['PID.8.1']", "'F'", "set: {PID-8.1: F}"),
        ("tmp['PID']['PID.8']['PID.8.1']", "msg['PID']['PID.9']['PID.9.1'].toString()", "set: {PID-8.1: =PID-9.1}"),
        ("msg['PID']['PID.5']", "msg['PID']['PID.9']", "copy: {PID-5: PID-9}"),
        ("msg['PID']['PID.5']", "'A^B'", "set: {PID-5: A^B}"),
        ("msg['PID']['PID.5']['PID.5.1']", "'A^B'", "set: {PID-5.1: '=\"A^B\"'}"),
        ("msg['PID']['PID.5']['PID.5.1']", "'=x'", "set: {PID-5.1: '=\"=x\"'}"),
        ("msg['PID']['PID.5']['PID.5.1']", "'${x}'", "set: {PID-5.1: '$${x}'}"),
        ("msg['PID']['PID.5']['PID.5.1']", "''", "set: {PID-5.1: ''}"),
    ],
)
def test_a_message_builder_is_a_step(tmp_path: Path, target: str, mapping: str, step: str):
    xml = with_step(builder(target, mapping))
    (text,) = texts(xml).values()
    assert f"  - name: a step\n    {step}\n" in text
    assert errors(loaded(tmp_path, {"a": text})) == []


def test_an_iterator_over_a_segment_is_an_each(tmp_path: Path):
    inner = builder("msg['OBX'][i]['OBX.6']['OBX.6.1']", "msg['OBX'][i]['OBX.7']['OBX.7.1'].toString()", name="inner")
    step = (
        "<com.mirth.connect.model.IteratorStep><name>each one</name><enabled>true</enabled><properties>"
        f"<target>msg['OBX']</target><indexVariable>i</indexVariable><children>{inner}</children>"
        "</properties></com.mirth.connect.model.IteratorStep>"
    )
    (text,) = texts(with_step(step)).values()
    assert "  - name: each one\n    each: OBX\n    do:\n      - set: {OBX-6.1: =OBX-7.1}\n" in text
    assert errors(loaded(tmp_path, {"a": text})) == []
    elsewhere = with_step(step.replace("<target>msg['OBX']", "<target>msg['OBX'][0]['OBX.3']"))
    assert any("an iterator over something else" in one for one in told(elsewhere, "todo"))


def test_an_iterator_of_rules_asks_any_segment(tmp_path: Path):
    rule = (
        f"<{STEPS}rulebuilder.RuleBuilderRule><field>msg['OBX'][i]['OBX.8']['OBX.8.1'].toString()</field>"
        f"<condition>EQUALS</condition><values><string>'HH'</string></values></{STEPS}rulebuilder.RuleBuilderRule>"
    )
    iterator = (
        "<com.mirth.connect.model.IteratorRule><name>critical</name><properties><target>msg['OBX']</target>"
        f"<indexVariable>i</indexVariable><intersectIterations>false</intersectIterations><children>{rule}</children>"
        "</properties></com.mirth.connect.model.IteratorRule>"
    )
    head, _, tail = FEED.partition('<filter version="4.5.2">')
    xml = f"{head}<filter><elements>{iterator}</elements></filter>{tail.partition('</filter>')[2]}"
    (text,) = texts(xml).values()
    assert "    filter: 'any OBX (OBX-8.1 == \"HH\")'\n" in text
    assert errors(loaded(tmp_path, {"a": text})) == []


def test_a_step_that_is_switched_off_is_left_out_and_told():
    xml = feed_with("<enabled>true</enabled>\n            <variable>mrn<", "<enabled>false</enabled>\n<variable>mrn<")
    assert any(one.startswith('step 1 "mrn": is switched off') for one in told(xml, "differs"))
    assert any("the variable mrn" in one for one in told(xml, "todo"))


def test_an_outbound_template_is_told_as_it_begins_another_message():
    template = base64.b64encode(b"MSH|^~\\&|||||||ADT^A01").decode()
    old = '<outboundTemplate encoding="base64"></outboundTemplate>'
    xml = feed_with(old, f'<outboundTemplate encoding="base64">{template}</outboundTemplate>')
    assert any("begins with a message of its own" in one for one in told(xml, "todo"))


def test_a_script_with_a_password_in_it_is_told_of():
    xml = with_step(script("DatabaseConnectionFactory.createDatabaseConnection('d', 'u', 'x', 'pw');"))
    assert any("may hold a password" in one for one in told(xml, "differs"))


def test_a_script_cannot_break_out_of_its_comment(tmp_path: Path):
    xml = with_step(script("for(;;){}&#13;steps: []&#x85;x&#x2028;destinations: {}&#10;listen: {}"))
    (text,) = texts(xml).values()
    assert errors(loaded(tmp_path, {"a": text})) == []
    assert len(re.findall("^destinations", text, re.MULTILINE)) == 1


def test_names_of_the_export_cannot_break_out_of_their_lines(tmp_path: Path):
    xml = FEED.replace("<name>ADT Feed</name>", "<name>a\nb: [${X} # '\"</name>")
    xml = xml.replace("<name>old number</name>", "<name>x: [\ny ${HOME} '\" #</name>")
    xml = xml.replace("<name>To RIS</name>", "<name>To\n${RIS}: {</name>")
    xml = xml.replace("<description>Adm", "<description>${file:/etc/passwd} '\"\n- Adm")
    ((name, text),) = texts(xml).items()
    assert re.fullmatch("[a-z0-9-]+", name)
    site = loaded(tmp_path, {"a": text})
    assert errors(site) == []
    assert "${file:/etc/passwd}" in site.channels[0].file.description


# -- as versions before 3.5 wrote it ---------------------------------------------------------------

OLD = """\
<channel version="3.4.2">
  <id>1</id><name>Old feed</name><description/>
  <sourceConnector version="3.4.2">
    <metaDataId>0</metaDataId><name>sourceConnector</name>
    <properties class="com.mirth.connect.connectors.tcp.TcpReceiverProperties">
      <listenerConnectorProperties><host>0.0.0.0</host><port>6700</port></listenerConnectorProperties>
      <sourceConnectorProperties><responseVariable>None</responseVariable></sourceConnectorProperties>
    </properties>
    <transformer>
      <steps>
        <step>
          <sequenceNumber>0</sequenceNumber><name>mrn</name><script>ignored</script><type>Mapper</type>
          <data class="map">
            <entry><string>Variable</string><string>mrn</string></entry>
            <entry><string>Mapping</string><string>msg['PID']['PID.3']['PID.3.1'].toString()</string></entry>
            <entry><string>DefaultValue</string><string></string></entry>
            <entry><string>RegularExpressions</string><list>
              <string-array><string>/-/g</string><string>''</string></string-array></list></entry>
          </data>
        </step>
        <step>
          <sequenceNumber>1</sequenceNumber><name>old number</name><type>Message Builder</type>
          <data class="map">
            <entry><string>Message Segment</string><string>tmp['PID']['PID.2']['PID.2.1']</string></entry>
            <entry><string>Mapping</string><string>$('mrn')</string></entry>
            <entry><string>DefaultValue</string><string></string></entry>
          </data>
        </step>
        <step>
          <sequenceNumber>2</sequenceNumber><name>own</name><type>JavaScript</type>
          <data class="map"><entry><string>Script</string><string>delete msg['NTE'];</string></entry></data>
        </step>
      </steps>
      <inboundDataType>HL7V2</inboundDataType><outboundDataType>HL7V2</outboundDataType>
    </transformer>
    <filter>
      <rules>
        <rule>
          <sequenceNumber>0</sequenceNumber><name>ADT</name><type>Rule Builder</type>
          <data class="map">
            <entry><string>Field</string><string>msg['MSH']['MSH.9']['MSH.9.1'].toString()</string></entry>
            <entry><string>Equals</string><string>1</string></entry>
            <entry><string>Values</string><list><string>'ADT'</string><string>'ORM'</string></list></entry>
          </data>
        </rule>
        <rule>
          <sequenceNumber>1</sequenceNumber><name>P</name><type>JavaScript</type><operator>AND</operator>
          <data class="map"><entry><string>Script</string>
            <string>return msg['MSH']['MSH.11']['MSH.11.1'].toString() == 'P';</string></entry></data>
        </rule>
      </rules>
    </filter>
    <transportName>TCP Listener</transportName><mode>SOURCE</mode><enabled>true</enabled>
  </sourceConnector>
  <destinationConnectors>
    <connector version="3.4.2">
      <metaDataId>1</metaDataId><name>Destination 1</name>
      <properties class="com.mirth.connect.connectors.tcp.TcpDispatcherProperties">
        <remoteAddress>ris.example</remoteAddress><remotePort>6701</remotePort>
      </properties>
      <enabled>true</enabled>
    </connector>
  </destinationConnectors>
</channel>
"""


def test_steps_and_rules_as_versions_before_3_5_wrote_them(tmp_path: Path):
    ((_, text),) = texts(OLD).items()
    assert 'filter: \'MSH-9.1 in ["ADT", "ORM"] and MSH-11.1 == "P"\'' in text
    assert 'set: {PID-2.1: \'=replace(PID-3.1, "-", "")\'}' in text
    assert "delete: [NTE]" in text
    assert told(OLD, "todo") == []
    assert errors(loaded(tmp_path, {"a": text})) == []


def test_a_list_of_channels_and_a_group_with_channels_are_exports():
    bare = FEED
    assert list(texts(f"<list>{bare}{OLD}</list>")) == ["adt-feed", "old-feed"]
    group = f"<channelGroup><id>g</id><name>Group</name><channels>{bare}</channels></channelGroup>"
    assert list(texts(group)) == ["adt-feed"]
    assert list(texts(f"<list>{group}</list>")) == ["adt-feed"]
    assert list(texts(f"<list>{bare}{bare}</list>")) == ["adt-feed", "adt-feed-2"]


# -- destinations and sources -----------------------------------------------------------------------

KEPT_OPEN = "<maxConnections>10</maxConnections>\n          <keepConnectionOpen>"
"""Of a sender: the listener's stands elsewhere."""


def test_settings_out_of_the_configuration_map_become_variables_that_somebody_sets():
    xml = feed_with("<remoteAddress>ris.hospital.example<", "<remoteAddress>${ris.host}<")
    xml = xml.replace("<remotePort>6662<", "<remotePort>${ris.port}<")
    (text,) = texts(xml).values()
    assert "host: '${RIS_HOST}', port: '${RIS_PORT}'" in text
    assert sum("set the variable RIS_" in one for one in told(xml, "fill-in")) == 2


@pytest.mark.parametrize(
    ("old", "new", "fate", "said"),
    [
        ("<useMLLPv2>false<", "<useMLLPv2>true<", "carried", "release: 2"),
        ("<pluginPointName>MLLP<", "<pluginPointName>Basic<", "todo", "framing"),
        ("<serverMode>true<", "<serverMode>false<", "todo", "client mode"),
        ("<receiveTimeout>0<", "<receiveTimeout>60000<", "carried", "idle_timeout: 1m"),
        ("<charsetEncoding>DEFAULT_ENCODING<", "<charsetEncoding>UTF-8<", "carried", "fallback: utf_8"),
        ("<charsetEncoding>DEFAULT_ENCODING<", "<charsetEncoding>x-unknown<", "todo", "character set"),
        ("<ignoreResponse>false<", "<ignoreResponse>true<", "todo", "answer"),
        ("<queueOnResponseTimeout>true<", "<queueOnResponseTimeout>false<", "carried", "on_unanswered: hold"),
        (f"{KEPT_OPEN}true<", f"{KEPT_OPEN}false<", "carried", "keep_open: false"),
        ("<rotate>false<", "<rotate>true<", "differs", "queue rotation"),
        ("<template>${message.encodedData}<", "<template>${x}<", "todo", "template"),
        ("<threadAssignmentVariable>mrn<", "<threadAssignmentVariable><", "carried", "order_by: MSH-10"),
        ("<outputAppend>false<", "<outputAppend>true<", "differs", "append"),
        ("<initialState>STARTED<", "<initialState>STOPPED<", "differs", "initialState"),
        ("<messageStorageMode>DEVELOPMENT<", "<messageStorageMode>DISABLED<", "differs", "messageStorageMode"),
    ],
)
def test_a_setting_is_carried_over_or_told(tmp_path: Path, old: str, new: str, fate: str, said: str):
    xml = feed_with(old, new)
    (text,) = texts(xml).values()
    assert errors(loaded(tmp_path, {"a": text})) == []
    if fate == "carried":
        assert said in text
    else:
        assert any(said in one.partition(": ")[0] for one in told(xml, fate))


def test_a_channel_without_destinations_is_written_without_routes(tmp_path: Path):
    head, _, tail = FEED.partition("<destinationConnectors>")
    xml = f"{head}<destinationConnectors/>{tail.partition('</destinationConnectors>')[2]}"
    (text,) = texts(xml).values()
    assert "routes:" not in text
    assert errors(loaded(tmp_path, {"a": text})) == []


# -- what is no export, or hostile ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "this is not XML"),
        (b"not xml", "this is not XML"),
        (FEED.encode()[:5000], "this is not XML"),
        (b"<html/>", "the root is html"),
        (b"<list/>", "no channel export"),
        (b"<codeTemplateLibrary><name>x</name></codeTemplateLibrary>", "code templates"),
        (b"<channelGroup><channels><channel><id>1</id></channel></channels></channelGroup>", "by id only"),
        (b'<!DOCTYPE channel [<!ENTITY a "x">]><channel>&a;</channel>', "DOCTYPE"),
        (b'<!DOCTYPE channel SYSTEM "file:///etc/passwd"><channel/>', "DOCTYPE"),
        (b'<!DOCTYPE c [<!ENTITY e SYSTEM "http://x.example/">]><c>&e;</c>', "DOCTYPE"),
        (b"<channel>&undefined;</channel>", "this is not XML"),
        (b'<?xml version="1.0" encoding="x-none"?><channel/>', "encoding"),
        (b'<?xml version="1.0" encoding="UTF-8"?><channel>\xff\xfe</channel>', "this is not XML"),
        (b'<?xml version="1.0" encoding="UTF-16"?><channel/>', "this is not XML"),
        (b"<a>" * 200, "larger than any export"),
        (b" " * (MAX_BYTES + 1), "are read at most"),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else value,
)
def test_what_is_no_export_is_refused_with_its_reason(raw: bytes, reason: str):
    with pytest.raises(ExportError, match=reason):
        read_export(raw)


def test_a_billion_laughs_is_refused_before_it_laughs():
    lines = [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)]
    raw = f'<!DOCTYPE l [<!ENTITY l0 "ha">{"".join(lines)}]><channel>&l9;</channel>'
    with pytest.raises(ExportError, match="DOCTYPE"):
        read_export(raw.encode())


def test_an_export_in_another_encoding_is_read_as_it_says():
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?>' + FEED.replace("Ward board", "Stationstür")
    export = read_export(declared.encode("latin-1"))
    assert export.channels[0].destinations[2].name == "Stationstür"


BLOCKS = re.compile(r"<([A-Za-z.]+)[^<>/]*>[^<>]*</\1>")


ODD = (None, "", "-7", "99999999999999", "${a.b}: 'x' #\"[", "\u00a0\u2028- x", "true", "msg['PID']['PID.3']")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_export_with_pieces_missing_or_odd_is_read_or_refused_and_its_channels_are_yaml(data: st.DataObject):
    """Exports of other versions and plug-ins lack elements and have others: nothing of it is a defect here."""
    xml = data.draw(st.sampled_from([FEED, BACKUP, OLD]))
    for _ in range(data.draw(st.integers(1, 12))):
        found = list(BLOCKS.finditer(xml))
        one = found[data.draw(st.integers(0, len(found) - 1))]
        odd = data.draw(st.sampled_from(ODD))
        new = "" if odd is None else f"<{one[1]}>{odd}</{one[1]}>"
        xml = xml[: one.start()] + new + xml[one.end() :]
    try:
        made = made_of(xml)
    except ExportError:
        return
    for channel in made.channels:
        node, findings = load_yaml(channel.text, "channel.yaml")
        assert node is not None
        assert [f"{f.line} {f.code} {f.message}" for f in findings if f.is_error] == [], channel.text


def test_the_report_is_made_of_plain_values():
    assert all(
        isinstance(item, Item) and item.line > 0 and item.place.startswith("/") for item in made_of(BACKUP).items
    )


# -- an export that is nastier than most ---------------------------------------------------------------


def destination(kind: str, properties: str) -> str:
    """The feed with one destination, of this kind."""
    before, behind = FEED.split("<destinationConnectors>", 1)
    connector = (
        f"<connector><metaDataId>1</metaDataId><name>One</name>"
        f'<properties class="com.mirth.connect.connectors.{kind}">{properties}</properties>'
        "<transformer><elements/></transformer><filter><elements/></filter><enabled>true</enabled></connector>"
    )
    rest = behind.split("</destinationConnectors>")[1]
    return f"{before}<destinationConnectors>{connector}</destinationConnectors>{rest}"


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("http.HttpDispatcherProperties", "<host>https://ann:Hush-1@h.example/a?x=1&amp;api_token=Hush-2</host>"),
        ("http.HttpDispatcherProperties", "<host>https://ann:Hush@-1@h.example/a</host><method>put</method>"),
        ("file.FileDispatcherProperties", "<scheme>SFTP</scheme><host>ann:Hush-1@h.example/in</host>"),
        ("jdbc.DatabaseDispatcherProperties", "<url>jdbc:oracle:thin:scott/Hush-1@h:1521:x</url><query>x</query>"),
        ("jdbc.DatabaseDispatcherProperties", "<url>jdbc:mysql://h/x?user=a&amp;password=Hush-1</url><query>x</query>"),
        ("x.OtherProperties", "<uri>ftp://ann:Hush-1@h/</uri><secretKey>Hush-2</secretKey>"),
    ],
)
def test_no_password_in_an_address_is_copied_into_a_setting_or_a_comment(tmp_path: Path, kind: str, properties: str):
    made = texts(destination(kind, properties))
    assert made and not any("Hush" in text or "-1@" in text for text in made.values())
    assert not any("Hush" in item.text for item in made_of(destination(kind, properties)).items)


def test_the_login_of_an_address_becomes_settings_that_somebody_fills_in(tmp_path: Path):
    xml = destination("http.HttpDispatcherProperties", "<host>https://ann:x1@h.example/a?token=x2</host>")
    (text,) = texts(xml).values()
    assert "user: ann" in text and "password: '${ADT_FEED_ONE_PASSWORD}'" in text
    assert "'https://h.example/a?token=${ADT_FEED_ONE_TOKEN}'" in text
    assert {"One, password", "One, address"} <= {one.partition(":")[0] for one in told(xml, "fill-in")}


DATABASE = "<driver>x</driver><url>jdbc:postgresql://h/x</url><username>u</username><useScript>false</useScript>"


def database(query: str, steps: str = "") -> dict[str, object]:
    """What stands under `database:` for this query; the feed's own steps put `mrn`."""
    xml = destination("jdbc.DatabaseDispatcherProperties", f"{DATABASE}<query>{query}</query>")
    (text,) = texts(xml.replace("<elements>", f"<elements>{steps}", 1)).values()
    return yaml.safe_load(text)["destinations"]["one"]["database"]


@pytest.mark.parametrize(
    ("query", "sql"),
    [
        ("INSERT INTO t VALUES ('${mrn}', ':a  b')", "INSERT INTO t VALUES (:mrn, ':a  b')"),
        ("UPDATE t\nSET a=${mrn};\nDELETE FROM u;", ["UPDATE t SET a=:mrn", "DELETE FROM u"]),
        ("INSERT INTO t VALUES ('a;b', ${mrn})", "INSERT INTO t VALUES ('a;b', :mrn)"),
    ],
)
def test_statements_keep_their_texts_and_are_told_apart(query: str, sql: object):
    found = database(query)
    assert found["sql"] == sql and set(found["parameters"]) == {"mrn"}


def test_two_variables_that_differ_by_case_only_stay_two():
    mapping = "msg['PID']['PID.7']['PID.7.1'].toString()"
    kind = f"{STEPS}mapper.MapperStep"
    step = (
        f"<{kind}><name>n</name><sequenceNumber>0</sequenceNumber><variable>MRN</variable>"
        f"<mapping>{mapping}</mapping><defaultValue/><replacements/><scope>CHANNEL</scope></{kind}>"
    )
    found = database("INSERT INTO t VALUES (${mrn}, ${MRN}, ${mrn})", step)
    assert found["sql"] == "INSERT INTO t VALUES (:mrn, :mrn_2, :mrn)"
    assert found["parameters"]["mrn_2"] == "=PID-7.1" != found["parameters"]["mrn"]


@pytest.mark.parametrize("query", ["UPDATE t -- all\nSET a=1", "SELECT /* x */ 1", "UPDATE t SET a='x ${mrn} y'"])
def test_a_statement_that_would_become_another_is_left_to_do(query: str):
    xml = destination("jdbc.DatabaseDispatcherProperties", f"{DATABASE}<query>{query}</query>")
    assert any(one.startswith("One, statement") for one in told(xml, "todo"))
    (text,) = texts(xml).values()
    assert "database:" not in text and "file: {folder:" in text


@pytest.mark.parametrize("port", ["99999", "0", "x25", "123456"])
def test_what_is_no_port_is_to_be_filled_in_as_it_stops_the_check(port: str):
    xml = feed_with("<port>6661</port>", f"<port>{port}</port>")
    assert f"port: {port} is no port: write one" in told(xml, "fill-in")


def test_batches_are_told_of():
    xml = feed_with("<processBatch>false</processBatch>", "<processBatch>true</processBatch>")
    assert any(one.startswith("batches: ") for one in told(xml, "differs"))
    assert not any(one.startswith("batches: ") for one in told(FEED, "differs"))


def test_a_step_of_a_kind_that_nobody_knows_is_named_once():
    xml = with_step("<org.vendor.FancyStep><name>a</name><sequenceNumber>0</sequenceNumber></org.vendor.FancyStep>")
    assert any(one.endswith("not carried over: a step of the kind FancyStep") for one in told(xml, "todo"))
