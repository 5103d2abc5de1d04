"""E130 to E162: expressions, paths, files and routes of a channel, its neighbours, code tables, and the machine."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

CHANNEL: Final[Stories] = MappingProxyType(
    {
        "E130": Story(
            "an expression that cannot be understood",
            "A condition, or a value after =, is not of the expression language: the caret stands where it stops "
            "being "
            'so. PV1-2 in ["I", "O"] and not PID-8 == "" is a condition; =upper(PID-5.1) is a value.',
            "Follow the hint. Texts stand in double quotes, comparison is ==, and only the listed functions exist.",
            'from: MSH-3.1 = "HIS"      # ==',
        ),
        "E131": Story(
            "an HL7 path that cannot be understood",
            "A path is written as the standard writes it: PID-3, PID-3.1, PID-3[2].1, OBX[3]-5, NTE, or "
            'PID-3[5 == "MR"].1 for the first repetition whose fifth component is MR.',
            "Correct it where the caret stands.",
            "delete: [PID-5..1]",
        ),
        "W130": Story(
            "a condition that is the same for every message",
            "No message can change its outcome: it compares texts with texts. So a filter lets all or none through, a "
            "route takes all or none, and everything is urgent or nothing.",
            "Name the place that is meant, such as PV1-2. A place in quotes is a text.",
            "when: \"'PV1-2' == 'I'\"      # PV1-2 == \"I\"",
        ),
        "W131": Story(
            "a segment or field that no version of HL7 has",
            "A path that no message fills reads as empty: a condition on it is never true, an order by it is the order "
            "of all, a table is asked for ''. Segments of a site's own begin with Z; of these nothing is said.",
            "Take the name in the hint, or look the segment up in the standard.",
            "order_by: PIX-3.1      # PID-3.1",
        ),
        "W190": Story(
            "a text that reads as an expression",
            "A value is text as it stands unless it begins with =, as in a spreadsheet. This one is a place of a "
            "message, or calls a function, so every message would get these very letters.",
            'Put = before it. If the letters are meant, write them as an expression: ="PID-3.1".',
            "set: {PID-2: PID-3.1}      # =PID-3.1",
        ),
        "E132": Story(
            "a file that a channel names is missing or cannot be read",
            "Code tables, steps.py, certificates and keys are relative to the channel's folder, and tables must lie "
            "inside of the site.",
            "Check the path; the hint names a file of nearly that name.",
            "map: {PV1-3.1: tables/ward.csv}",
        ),
        "E134": Story(
            "a function that is not there",
            "A python step names file.py:function; the file does not define a function of that name at its top, or "
            "it is async, which a step cannot be.",
            "Define it with def at the top of the file, or correct the name.",
            "python: steps.py:splitt",
        ),
        "E135": Story(
            "a Python file that does not load",
            "The file has a syntax error, or raises when it is imported.",
            "Correct it at the line that is named; 'segmill try' runs it with a message.",
        ),
        "E140": Story(
            "a route to a destination that does not exist",
            "Every route goes to a name under destinations of the same channel, and so does redirect(x).",
            "Correct the name, or add the destination.",
            "routes: [{to: riss}]",
        ),
        "E180": Story(
            "redirects that go in a circle",
            "A destination's policy may have another one take over what does not arrive, and that one a third. If "
            "the last gives them back to the first, a message that nobody takes would go round for ever.",
            "Let the last of them hold or skip what does not arrive there.",
            "on_unreachable: redirect(spare)      # and spare redirects here",
        ),
        "E181": Story(
            "a redirect to a destination that cannot be given the message",
            "What takes over gets what the first was to get. HL7 is written anew for another charset or format; "
            "JSON and XML stay what they are, and the other destination asks for, or can carry, something else.",
            "Give both destinations the same format.",
            "format: json",
        ),
        "E182": Story(
            "a redirect where somebody waits for this very destination",
            "With ack.when delivered(x) senders are told what x answered, and an application acknowledgement goes "
            "to its sender alone: nothing can take over from these.",
            "Take hold, skip or retry there.",
            "ack: {when: delivered(ris)}      # and ris redirects",
        ),
        "W183": Story(
            "hours of a destination without a time zone",
            "Neither 'open' names a zone, nor does the site's time_zone: the hours are read in UTC, which moves "
            "against the clock on the wall twice a year in most places.",
            "Write time_zone in segmill.yaml, such as Europe/Berlin; UTC where that is meant.",
            "open: 22:00-06:00",
        ),
        "W141": Story(
            "a destination that no route goes to",
            "Nothing will ever be sent there.",
            "Add a route, or remove the destination.",
        ),
        "E142": Story(
            "two channels share a port and differ in its settings",
            "A port is opened once, with one address, one certificate and one set of limits. All channels that "
            "name it must say the same of it.",
            "Make the settings equal, or give one of the channels a port of its own.",
        ),
        "W143": Story(
            "messages that never reach a channel",
            "Channels that share a port are asked for a message in order of their names, and the first whose "
            "accept and from match takes it. An earlier one without a 'from' takes all that this one would.",
            "Give the earlier one a condition, let it accept less, or use another port.",
        ),
        "W144": Story(
            "a port that others reach, in plain text",
            "MLLP has no encryption of its own: who can listen on the way reads the messages, and without 'allow' "
            "anybody who reaches the port may send.",
            "Set tls with a client_ca, or see that the network keeps others out, and set allow.",
            "mllp: {port: 2575, host: 0.0.0.0}",
        ),
        "W145": Story(
            "a channel without routes",
            "Messages are received, acknowledged and kept, and go nowhere.",
            "Add routes.",
        ),
        "E146": Story(
            "a name that cannot be one",
            "Channels and destinations are named with lower-case letters, digits and hyphens inside, at most 63 of "
            "them: the name stands in file names, metrics and commands.",
            "Rename the folder or the destination; the hint proposes a name.",
        ),
        "E147": Story(
            "settings of answers that contradict each other",
            "What the channel says under ack, sequence or listen cannot all be so: an application acknowledgement "
            "that goes nowhere cannot wait for a destination, original mode has no second answer that could go over "
            "another connection, a destination that no route goes to never answers, a file has no sender that hears "
            "an answer, a setting without the one it belongs to does nothing.",
            "Follow the hint: take one of the two away, or add what is missing.",
            "ack: {when: delivered(ris), app_ack: none}",
        ),
        "W147": Story(
            "settings of answers that are rarely meant",
            "With duplicates: off, a sender that was told of a time-out and sends again has its message processed "
            "and delivered again. An application acknowledgement that is sent to the channel's own port comes back "
            "as a message.",
            "Give duplicates a window, or take another port.",
            "ack: {when: delivered(ris)}, duplicates: off",
        ),
        "E148": Story(
            "several messages at once, and nothing that says which may overtake which",
            "A destination keeps one order over all messages. Several connections (lanes), or messages that go first "
            "(priority), would break it, unless order_by says within what order must be kept: the messages of one "
            "patient, of one order. A folder has one writer, so a file destination has no lanes at all.",
            "Add order_by: PID-3.1, or what else must stay in order. Where nothing must, order_by: MSH-10 makes each "
            "message a key of its own.",
            "epr: {mllp: {host: epr.local, port: 2575}, lanes: 4}",
        ),
        "E149": Story(
            "an order_by that is the same for every message",
            "With one key for all, one message at a time is sent, whatever lanes says, and nothing goes first.",
            "Name a place of the message without quotes, or leave order_by out.",
            'order_by: "PID-3.1"   # in the file: order_by: \'"PID-3.1"\'',
        ),
        "W148": Story(
            "a folder under channels/ that is no channel",
            "It has no channel.yaml, so nothing in it is used.",
            "Add channel.yaml, correct its name, or move the folder elsewhere.",
        ),
        "W149": Story(
            "metrics that others can read",
            "The admin port listens beyond this machine, and has no password. It tells names of channels, counts and "
            "times, and no patient data.",
            "Listen on 127.0.0.1, or let a firewall decide who reaches the port.",
        ),
        "E150": Story(
            "a code table that cannot be read",
            "A table is a UTF-8 text of at most 32 MiB.",
            "Save it as UTF-8, with commas.",
        ),
        "E151": Story(
            "a code table without a header",
            "The first line that is neither empty nor a comment names the columns, at least two: what is looked "
            "up, and what stands beside it.",
            "Add a first line such as from,to.",
        ),
        "E152": Story(
            "a row with more or fewer cells than the header",
            "Mostly a comma inside a cell that is not in quotes.",
            'Put the cell in quotes: "Smith, John".',
        ),
        "E153": Story(
            "a key that stands twice in a code table",
            "Only the first row would ever be found.",
            "Remove one of the rows.",
        ),
        "E154": Story(
            "a row without a key",
            "The first cell is empty. Empty values are not looked up, so the row could never be found.",
            "Remove the row, or fill in the key.",
        ),
        "E155": Story(
            "quotes in a code table that are not in order",
            "A cell in quotes ends with a quote before the comma; a quote inside of it is written twice.",
            'Write "5 ""new""" for 5 "new".',
        ),
        "E156": Story(
            "blanks around a key or value of a code table",
            "Keys are compared exactly, so a blank that nobody sees would let the row never match, or be sent on.",
            "Remove the blanks, or put the cell in quotes where they are meant.",
        ),
        "W150": Story(
            "a code table with a byte order mark",
            "Some spreadsheets write one. It was skipped.",
            "Save the table as UTF-8 without it.",
        ),
        "W157": Story(
            "a code table whose header looks like a row",
            "The first line of a table names its columns and is never looked up. Here it looks like a key with its "
            "value, so that the first code of the table would never be found.",
            "Put a line such as from,to above it; or give the columns names.",
        ),
        "E166": Story(
            "a date or direction of a code table that cannot be read",
            "The columns valid_from and valid_to hold a day, 2026-07-01, which is one of UTC, or a time with its "
            "distance from UTC, 2026-07-01T06:00+02:00; or nothing, for ever. A day in valid_to still counts. The "
            "column direction holds both, there, back, or nothing for both.",
            "Write the cell so; where a column of such a name is meant for people, give it another name.",
        ),
        "E167": Story(
            "two rows of a code table for one key at one time",
            "A key may stand several times in a table with dates, as long as no two of its rows hold at one moment.",
            "End the older row the day before the newer one begins.",
        ),
        "W167": Story(
            "a time between the rows of a key",
            "A key has rows before and after a time at which it has none. A message that comes then finds no row.",
            "Let the older row end the day before the newer one begins; or leave it, if the code was out of use.",
        ),
        "E168": Story(
            "an ambiguous way back",
            "A step (direction: back) or an expression (back) looks this table up from value to key, and two keys have "
            "the same value.",
            "Add a column direction, and write there in the rows that count in the usual direction only.",
        ),
        "E169": Story(
            "a code table with dates where no time is known",
            "A table with valid_from or valid_to is looked up by the time of a message's receipt. Which channel takes "
            "a message (from), what keeps messages in order (order_by, priority), and profiles do not depend on it.",
            "Look the value up in a step or a route, or use a table without dates.",
        ),
        "W180": Story(
            "a channel without a case",
            "Nothing shows what the channel does to a message, so nothing tells when a change makes it do another.",
            "Put a message into cases/NAME/in.hl7 and run: segmill test --update. Then read what it wrote.",
        ),
        "W181": Story(
            "a case that cannot be run",
            "It has no message (in.hl7), or its expect.yaml says something that can never be held against anything. "
            "segmill test fails with it; the engine does not look at cases.",
            "Add the message, or correct the line; or remove the folder.",
        ),
        "W182": Story(
            "a file of a case that stands for nothing",
            "A case's out.NAME.hl7 is what destination NAME must get, and a table or profile in it takes the place of "
            "the channel's own of that path. The channel has none of this name, so the file says nothing.",
            "Correct its name, or remove it.",
            "cases/one/out.riss.hl7",
        ),
        "W184": Story(
            "a step or a route that is never taken",
            "What accept, from and the filters before it leave of a place is nothing that this condition asks for; or "
            "an earlier route sends every message to the same destination already.",
            "Correct the one or the other. What the line before was meant to let through is seen with: segmill try.",
            'accept: [ADT^*], and then when: MSH-9.1 == "ORU"',
        ),
        "W185": Story(
            "messages that come back",
            "A destination sends to a port of this machine, or into a folder, that a channel of this site takes from, "
            "and by that channel, or by what it sends to, messages come back to where they were. Resends are known as "
            "such only while nothing of the message changes, so it may go round without end.",
            "Send elsewhere, or refuse in `from` what was here before.",
        ),
        "W186": Story(
            "a value that is written over",
            "A later line of the same set writes the whole field, or component, of which an earlier one wrote a part.",
            "Put the whole before its parts, or leave one of the two out.",
            "set: {PID-5.1: MEIER, PID-5: MEIER^ANNA}",
        ),
        "E163": Story(
            "a destination that cannot be set up",
            "'segmill check --env' set it up as the engine would, and it could not be: files it needs cannot be used, "
            "or what it needs is not installed here.",
            "Do what the sentence says; the engine would not start with it.",
        ),
        "W164": Story(
            "values of a message leave the engine in plain words",
            "The template of a mail names a segment that can hold data of a patient, or the message is attached. "
            "Mail passes through other people's servers, stays in mailboxes, and is shown on locked screens.",
            "Name only what the receiver needs to look it up, such as {MSH-10} or {seq}. Where it is meant, and the "
            "way there is encrypted, leave it.",
            'subject: "Result for {PID-5.1}"',
        ),
        "W165": Story(
            "a password or a message in plain text on the way",
            "The destination or source sends a login, or messages, over a connection without TLS to another machine.",
            "Set tls, or see that the network keeps others out.",
        ),
        "E160": Story(
            "an address that cannot be listened on",
            "'segmill check --env' tried to open the port and could not: another process has it, the address is "
            "not of this machine, or ports below 1024 are not allowed to this user.",
            "See who has it: ss -ltnp. Or take another port.",
        ),
        "E161": Story(
            "a folder that cannot be written",
            "'segmill check --env' found that the user it runs as cannot make files there. The engine's user would "
            "need to.",
            "Make the folder, and give the engine's user the right to write into it.",
        ),
        "E162": Story(
            "TLS files that cannot be used",
            "A certificate, key or CA is there and is no PEM, has ended or not begun, or the key is not that of the "
            "certificate.",
            "Of what has ended put the renewed files in its place. How long one lasts: openssl x509 -noout -enddate "
            "-in CERT. Whose key it is: openssl x509 -noout -pubkey -in CERT and openssl pkey -pubout -in KEY say the "
            "same.",
        ),
        "W160": Story(
            "a receiver that cannot be reached now",
            "'segmill check --env' tried to connect, and nobody answered. Messages for it would wait in their lane.",
            "Check host, port and firewall; or start the engine all the same, it tries again by itself.",
        ),
    }
)
