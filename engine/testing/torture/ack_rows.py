"""Rows about acknowledgements: which are due, and how they are built (items 16 to 37)."""

from engine.testing.torture.build import adt, as_good, block, borne, cid, no, oru, refused, taken, yes
from engine.testing.torture.row import Due, Kept, Outcome, Row, Send

OTHER_DELIMITERS = (
    b"MSH#@*!%#TORTURE#NORTH#ALL#NORTH#20260102030405+0100##ADT@A01@ADT_A01#" + cid("delim1") + b"#P#2.5.1\r"
    b"EVN##20260102030405+0100\rPID#1##900001@@@NORTH%1.2%ISO@MR*900002##Test|person@Anna^~\\&##19700101#F\r"
)
UTF_16 = "MSH|^~\\&|TORTURE|NORTH|ALL|NORTH|20260102||ADT^A01|1|P|2.5.1\r".encode("utf-16-le")


def _modes() -> list[Row]:
    """Which acknowledgements are due."""

    def wishes(short: str, accept: bytes, application: bytes, *codes: str) -> Row:
        message = adt(short, accept=accept, application=application)
        shown = f"MSH-15 {accept.decode() or 'empty'}, MSH-16 {application.decode() or 'empty'}"
        due = [yes(short, code) for code in codes]
        # Many receivers know the original mode alone: their AA says enough, where an answer is due at all.
        also = [borne(yes(short))] if codes not in ((), ("AA",)) else []
        return taken(
            f"wishes-{short}",
            [16, 17, 18, 21, 22],
            f"{shown}: {' and '.join(codes) or 'silence'}",
            message,
            answers=due,
            also=also,
        )

    return [
        taken("original-mode", [16, 18, 19], "MSH-15 and MSH-16 empty: one application answer", adt("orig1")),
        wishes("al-ne", b"AL", b"NE", "CA"),
        wishes("ne-al", b"NE", b"AL", "AA"),
        wishes("al-al", b"AL", b"AL", "CA", "AA"),
        wishes("er-er", b"ER", b"ER"),
        wishes("su-su", b"SU", b"SU", "CA", "AA"),
        wishes("ne-ne", b"NE", b"NE"),
        wishes("al", b"AL", b"", "CA"),
        wishes("to-al", b"", b"AL", "AA"),
        taken(
            "wishes-unknown",
            [17],
            "MSH-15 with a value of no table counts as AL",
            adt("wish9", accept=b"0/0"),
            answers=[yes("wish9", "CA")],
            also=[borne(yes("wish9"))],
            findings=["W330"],
        ),
        taken(
            "silence-then-answer",
            [22, 23],
            "a message that wants no answer, and one behind it that does: the answer is the second's",
            adt("sil1", accept=b"NE", application=b"NE"),
            adt("sil2"),
            answers=[yes("sil2")],
        ),
        refused(
            "foreign-type",
            [18, 19, 35],
            "a message type that no channel takes",
            adt("type1", kind=b"XYZ^Z99^XYZ_Z99"),
            no("type1", "AR", "200"),
            ["E234"],
            also=[as_good(yes("type1"))],
        ),
        refused(
            "foreign-event",
            [18, 19, 35],
            "a trigger event that no channel takes",
            adt("event1", kind=b"ADT^Z98^ADT_A01"),
            no("event1", "AR", "201"),
            ["E235"],
            also=[as_good(yes("event1"))],
        ),
        refused(
            "foreign-type-enhanced",
            [18, 21, 35],
            "the same in enhanced mode: CR is for type, event, version and processing id",
            adt("type2", kind=b"XYZ^Z99^XYZ_Z99", accept=b"AL", application=b"AL"),
            no("type2", "CR", "200"),
            ["E234"],
            also=[as_good(yes("type2", "CA"), yes("type2")), borne(no("type2", "AR", "200")), borne(yes("type2"))],
        ),
        refused(
            "content-refused-enhanced",
            [21, 35],
            "content that a rule refuses, in enhanced mode: CE",
            adt("rule9", to=b"REFUSE", person=b"PID|1||||Testperson^Anna", accept=b"AL", application=b"AL"),
            no("rule9", "CE", "101"),
            ["E210"],
            also=[as_good(yes("rule9", "CA"), yes("rule9")), borne(yes("rule9"))],
        ),
        refused(
            "asks-only-for-errors",
            [17, 21, 22],
            "MSH-15 and MSH-16 ER: a refusal is told",
            adt("rule8", to=b"REFUSE", person=b"PID|1||||Testperson^Anna", accept=b"ER", application=b"ER"),
            no("rule8", "CE", "101"),
            ["E210"],
            also=[as_good()],
        ),
        Row(
            "filtered",
            (19,),
            "a message that the channel filters on purpose: it is accepted",
            (Send(block(adt("filt1", to=b"FILTER"))),),
            (Outcome((yes("filt1"),)),),
            (Kept("filtered", adt("filt1", to=b"FILTER"), ("W201",)),),
        ),
        Row(
            "held",
            (19, 20),
            "a message that the channel holds for a person: it is ours, so accepted",
            (Send(block(adt("held1", to=b"HOLD"))),),
            (Outcome((yes("held1"),)),),
            (Kept("held", adt("held1", to=b"HOLD"), ("E214",)),),
        ),
    ]


def _answers() -> list[Row]:
    """How an answer is built."""
    hd = b"LAB^1.2.276.0.76^ISO|NORTH^2.16.840^ISO"
    spaced = cid("a b  c")
    longest = cid("L" + "x" * 193)

    def rule(short: str, version: bytes, place: str) -> Row:
        return refused(
            f"error-in-{version.decode()}",
            [33, 34, 35],
            f"a required field is missing in a message of version {version.decode()}: ERR in that version's form",
            adt(short, to=b"REFUSE", version=version, person=b"PID|1||||Testperson^Anna"),
            no(short, "AE", "101", place),
            ["E210"],
            also=[as_good(yes(short))],
        )

    return [
        taken(
            "names-change-sides",
            [27],
            "MSH-3 to MSH-6 of the answer are the other side's, with all their components",
            adt("hd1", sender=hd, to=b"ALL^1.2.3^ISO|SOUTH^4.5^ISO"),
            answers=[
                yes(
                    "hd1",
                    msh={
                        3: b"ALL^1.2.3^ISO",
                        4: b"SOUTH^4.5^ISO",
                        5: b"LAB^1.2.276.0.76^ISO",
                        6: b"NORTH^2.16.840^ISO",
                    },
                )
            ],
        ),
        taken(
            "type-of-the-answer",
            [28],
            "MSH-9 of the answer has the event and three components in 2.5.1",
            adt("nine1"),
            answers=[yes("nine1", msh={9: b"ACK^A01^ACK"})],
        ),
        taken(
            "type-of-the-answer-2.3",
            [28],
            "two components in 2.3",
            adt("nine2", kind=b"ADT^A01", version=b"2.3"),
            answers=[yes("nine2", msh={9: b"ACK^A01", 12: b"2.3"})],
        ),
        taken(
            "type-of-the-answer-2.1",
            [28],
            "ACK alone in 2.1",
            adt("nine3", kind=b"ADT^A01", version=b"2.1"),
            answers=[yes("nine3", msh={9: b"ACK", 12: b"2.1"})],
        ),
        taken(
            "type-without-event",
            [28, 69],
            "MSH-9 has one component: the answer's is ACK, without empty components",
            oru("nine4", kind=b"ORU"),
            answers=[yes("nine4", msh={9: b"ACK"})],
            also=[as_good(no("nine4", "AR", "201")), as_good(no("nine4", "AE", "201"))],
        ),
        taken(
            "training-message",
            [29, 71],
            "a training message is not answered as production",
            adt("proc1", processing=b"T^T"),
            answers=[yes("proc1", msh={11: b"T^T"})],
            also=[as_good(no("proc1", "AR", "202"))],
        ),
        taken(
            "version-with-country",
            [29, 70],
            "MSH-12 has components: they come back",
            adt("vers1", version=b"2.5^FRA^2.11"),
            answers=[yes("vers1", msh={12: b"2.5^FRA^2.11"})],
        ),
        taken(
            "five-encoding-characters",
            [26, 38],
            "MSH-2 has the truncation character of 2.7 in a 2.5.1 message; it comes back in the answer",
            adt("five1", mark=b"^~\\&#"),
            answers=[yes("five1", msh={2: b"^~\\&#"})],
        ),
        Row(
            "other-delimiters",
            (26, 38, 40),
            "a message with delimiters of its own is answered with them",
            (Send(block(OTHER_DELIMITERS)),),
            (Outcome((yes("delim1", msh={1: b"#", 2: b"@*!%", 9: b"ACK@A01@ACK"}),)),),
            (Kept("processed", OTHER_DELIMITERS),),
            (OTHER_DELIMITERS,),
        ),
        taken(
            "blanks-in-the-id",
            [32],
            "a control id with blanks inside comes back byte for byte",
            adt("", control_id=spaced),
        ),
        taken(
            "long-id",
            [32],
            "a control id of 199 characters comes back whole",
            adt("", control_id=longest),
        ),
        taken(
            "escape-in-the-id",
            [32],
            "an escape sequence in the control id comes back as it is, not decoded",
            adt("", control_id=cid("id\\T\\1")),
        ),
        Row(
            "no-control-id",
            (32, 36),
            "MSH-10 is empty: nobody could match an answer, so it is refused with 101",
            (Send(block(adt("", control_id=b""))),),
            (Outcome((Due("AR", b"", "101"),)), as_good(Due("AE", b"", "101")), borne(Due("AA", b""))),
            (Kept("rejected", adt("", control_id=b""), ("E231",)),),
        ),
        rule("rule3", b"2.3", "PID^1^3"),
        rule("rule4", b"2.4", "PID^1^3"),
        rule("rule5", b"2.5.1", "PID^1^3^1^1"),
        rule("rule7", b"2.7", "PID^1^3^1^1"),
        refused(
            "error-in-the-second",
            [34],
            "a rule breaks in the second OBX: the location counts segments, not set ids",
            oru("rule2", b"OBX|7|ST|A^A^L||x||||||F", b"OBX|8|ST|||x||||||F", to=b"REFUSE"),
            no("rule2", "AE", "101", "OBX^2^3^1^1"),
            ["E210"],
            also=[as_good(yes("rule2"))],
        ),
        taken(
            "answer-has-the-charset",
            [30],
            "the answer declares the character set of its message",
            adt("cs1", person="PID|1||900001||Prüfling^Jörg".encode("latin-1"), charset=b"8859/1"),
            answers=[yes("cs1", msh={18: b"8859/1"})],
        ),
        Row(
            "no-header",
            (36,),
            "a block that holds no MSH is answered all the same",
            (Send(block(b"PID|1||900001||Testperson^Anna\rPV1|1|I\r")),),
            (Outcome((Due("AR", b"", "100"),)), as_good(Due("AE", b"", "100")), borne(closes=True)),
            (Kept("rejected", b"PID|1||900001||Testperson^Anna\rPV1|1|I\r", ("E233",)),),
        ),
        Row(
            "noise",
            (36,),
            "a block of bytes that are no text",
            (Send(block(bytes(range(0x80, 0x100)))),),
            (Outcome((Due("AR", b"", "100"),)), as_good(Due("AE", b"", "100")), borne(closes=True)),
            (Kept("rejected", bytes(range(0x80, 0x100)), ("E233",)),),
        ),
        Row(
            "header-cut-short",
            (36,),
            "an MSH that ends before MSH-10",
            (Send(block(b"MSH|^~\\&|TORTURE|NORTH|ALL|NORTH\r")),),
            (
                Outcome((Due("AR", b"", "200"),)),
                as_good(Due("AE", b"")),
                as_good(Due("AR", b"")),
                borne(closes=True),
            ),
            (Kept("rejected", b"MSH|^~\\&|TORTURE|NORTH|ALL|NORTH\r", ("E234",)),),
        ),
        Row(
            "header-is-four-bytes",
            (36, 38),
            "MSH and a separator, and no more",
            (Send(block(b"MSH|")),),
            (Outcome((Due("AR", b"", "200"),)), as_good(Due("AE", b"")), as_good(Due("AR", b"")), borne(closes=True)),
            (Kept("rejected", b"MSH|", ("E234",)),),
        ),
        Row(
            "separator-is-a-letter",
            (36, 38),
            "the fourth character is a letter, so nothing can be cut",
            (Send(block(b"MSHA^~\\&ATORTUREA")),),
            (Outcome((Due("AR", b"", "102"),)), as_good(Due("AE", b"")), as_good(Due("AR", b"")), borne(closes=True)),
            (Kept("rejected", b"MSHA^~\\&ATORTUREA", ("E233",)),),
        ),
        Row(
            "utf-16",
            (36, 59),
            "a message in UTF-16, which MLLP cannot carry: its bytes hold those of the framing",
            (Send(block(UTF_16)),),
            (Outcome((Due("AR", b"", "100"),)), as_good(Due("AE", b"")), as_good(Due("AR", b"")), borne(closes=True)),
            (Kept("rejected", UTF_16, ("E233",)),),
        ),
    ]


ACK_ROWS: tuple[Row, ...] = (
    *_modes(),
    *_answers(),
)
