"""E2xx and W2xx: what becomes of a message in a channel, and what the store found."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

_RELEASE = (
    "Correct the cause. A changed channel, table or steps.py is read when the engine starts: start it again. "
    "Then: segmill release SEQ, and the message goes through the channel as it is then."
)

RUNTIME: Final[Stories] = MappingProxyType(
    {
        "E201": Story(
            "a step failed",
            "The step raised an error that says nothing of the message's content on purpose, so that no patient "
            "data gets into findings and logs. The message is held; its sender was told that we have it, unless "
            "the channel says ack: {when_held: AE}.",
            f"See it happen with 'segmill try' on the stored message. {_RELEASE}",
        ),
        "E202": Story(
            "the edited message cannot be written",
            "What the steps wrote has characters that the message's character set (MSH-18) does not have.",
            "Set MSH-18 to UNICODE UTF-8 in a step, where the receiver reads it, or replace the characters. "
            + _RELEASE,
        ),
        "E203": Story(
            "a step cannot write a value where it was told to",
            "The place does not exist and cannot be made, or the value does not fit there: the finding names the path.",
            f"Correct the path in the step, or guard the step with a 'when'. {_RELEASE}",
        ),
        "E210": Story(
            "a required field is missing",
            "A validate step asks for a value at this place, and the message has none.",
            "The sender must send it, or the rule is too strict. A held message goes on after a change of the rule, a "
            "new start of the engine, and: segmill release SEQ.",
        ),
        "E211": Story(
            "a value of the wrong form",
            "The value at this place does not match the pattern of a validate step.",
            "The sender must correct it, or the pattern is too strict.",
        ),
        "E212": Story(
            "a value that is not allowed",
            "The value at this place is not among those that a validate step lists, or not a key of its code table.",
            "Add it to the list or table, or have the sender correct it.",
        ),
        "E213": Story(
            "a value that is too long or too short",
            "The value at this place has more or fewer characters than a validate step allows.",
            "The sender must correct it, or the rule is too strict.",
        ),
        "E214": Story(
            "no row in a code table",
            "A map step looked the value of this place up in a code table, and no row has it as its key. Case and "
            "blanks count. The message is held or rejected, as the step's 'otherwise' says.",
            "Add the row to the table. " + _RELEASE,
        ),
        "E216": Story(
            "held by the channel's own code",
            "A function in the channel's Python file raised Hold; the reason is the function's.",
            _RELEASE,
        ),
        "E217": Story(
            "rejected by the channel's own code",
            "A function in the channel's Python file raised Reject. The sender was told, and keeps the message.",
            "The reason is the function's; the sender must correct the message and send it again.",
        ),
        "E218": Story(
            "the channel's own code returned something",
            "A step's function edits the message it is given and returns nothing. What it returned is not known to "
            "be meant for anything, so the message is held.",
            "Remove the return, or raise Hold, Reject or Filter. " + _RELEASE,
        ),
        "E220": Story(
            "the channel's own code took too long",
            "The function did not come to an end within the deadline (workers: {deadline: ...} in segmill.yaml). "
            "Its process was ended, the message was tried once more, and is held.",
            "Find what loops or waits: segmill try CHANNEL FILE. " + _RELEASE,
        ),
        "E221": Story(
            "the process of the channel's own code ended",
            "It crashed, used more memory than allowed, or answered with more than is read. The message was tried "
            "once more, and is held.",
            "Run the message with 'segmill try'. " + _RELEASE,
        ),
        "E222": Story(
            "the channel's own code does not load",
            "The worker process cannot be started with the channel's Python files.",
            "The finding names the line; 'segmill try CHANNEL FILE' shows it too. " + _RELEASE,
        ),
        "E230": Story(
            "a message longer than the port takes",
            "The port's max_message is smaller. The sender was refused with code 207; the start of the message is "
            "kept, so that somebody can see who sends it.",
            "Raise max_message of the channel's listen, where such messages are to be expected.",
        ),
        "E231": Story(
            "a message without a control id",
            "MSH-10 is required by every version of HL7. Without it no answer can be matched and no resend be "
            "recognised.",
            "The sender must fill MSH-10 with an id that it never uses twice.",
        ),
        "E232": Story(
            "a control id used twice for different messages",
            "This sender has sent another message with the same MSH-10 before, within the channel's duplicates "
            "window. It is not the same message again, so it was processed.",
            "The sender must not use an id twice: a real resend could not be told from a new message for sure.",
        ),
        "E233": Story(
            "a message that cannot be read",
            "There is no MSH segment, or it does not say what separates the fields. The sender was answered with a "
            "rejection, and the bytes are kept.",
            "Look at the bytes: segmill messages. Something that is not HL7 v2 talks to this port, or the sender "
            "cuts messages apart.",
        ),
        "E234": Story(
            "a message type that no channel of the port takes",
            "MSH-9.1 is in no 'accept' of the channels that listen on the port. The sender was refused with code 200.",
            "Add the type to 'accept' of a channel, or have the sender send less.",
        ),
        "E235": Story(
            "a trigger event that no channel of the port takes",
            "The type is known here, the event (MSH-9.2) is not. The sender was refused with code 201.",
            "Add it to 'accept', such as ADT^A31 or ADT^*.",
        ),
        "E236": Story(
            "a sender that no channel of the port takes",
            "Type and event are accepted, and the 'from' of every such channel is false for this message.",
            "Compare MSH-3 and MSH-4 of the message with the 'from' of the channels.",
        ),
        "E237": Story(
            "a message that could not be stored",
            "The store is full, or busy for too long. Nothing was kept, the sender was told so (or the connection "
            "was closed, by ack: {on_store_failure}), and sends the message again.",
            "Make room on the disk, or see what blocks the store; the engine goes on by itself.",
        ),
        "E240": Story(
            "a file without a message",
            "A file that a file source took is empty, or holds blanks alone. It stands in failed/ of the folder.",
            "See why its sender writes empty files; a sender that makes the file first and fills it later should write "
            "it under a temporary name, or beyond 'stable'.",
        ),
        "E241": Story(
            "a file longer than the source takes",
            "The file source's max_file is smaller. The file was not read, and stands in failed/ of the folder.",
            "Raise max_file where such files are to be expected, and move the file back into the folder.",
        ),
        "E242": Story(
            "a batch file that was cut short",
            "The file begins with FHS or BHS and does not end with FTS or BTS, or a BTS-1 counts other than there are "
            "messages. Nothing of it was taken, as the rest may be missing. It stands in failed/ of the folder.",
            "Have the sender write it again. For senders that never write trailers: trailer: optional.",
        ),
        "E243": Story(
            "a file that cannot be read",
            "What was taken out of the folder is no regular file, or the engine's user may not read it. It stands in "
            "failed/ of the folder.",
            "Give the engine's user the right to read the sender's files. Links are never followed.",
        ),
        "E244": Story(
            "a message of a file that the engine failed at",
            "A defect of the engine, not of the message. Nothing is known to be kept of it.",
            "Tell the makers with what the log says; move the file back into the folder to try again.",
        ),
        "E250": Story(
            "stored bytes that do not match their checksum",
            "The disk, or something else that wrote to the store's file, changed a message after it was committed. "
            "It is held and is not delivered, as it may not be what was sent.",
            "Compare it with the sender's copy; restore the store from a backup; check the disk.",
        ),
        "W201": Story(
            "filtered on purpose",
            "The condition of a filter step was not true of the message. The sender was told that we have it; it "
            "goes no further.",
            "Nothing, where that is meant. Otherwise see why: segmill try CHANNEL FILE.",
        ),
        "W202": Story(
            "no route took the message",
            "Every route has a 'when', and none was true of the message. It is kept and goes nowhere.",
            "Add a route without 'when', or a filter step that says it is meant.",
        ),
        "W203": Story(
            "filtered by the channel's own code",
            "A function in the channel's Python file raised Filter.",
            "Nothing, where that is meant.",
        ),
        "W204": Story(
            "no row in a code table, and the message went on",
            "As E214, with otherwise: keep or default(...) in the step.",
            "Add the row, if the value is a code that will come again.",
        ),
    }
)
