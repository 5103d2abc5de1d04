"""E47x and E48x: who may reach the engine, what the HTTP API refuses, and the audit's own state."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

ACCESS: Final[Stories] = MappingProxyType(
    {
        "E470": Story(
            "the console is open to other machines without TLS",
            "console.host is no address of this machine alone, and there is no TLS: passwords and patients' data would "
            "cross the network for everybody to read. The engine does not start so.",
            "Give it tls with a certificate and a key; or leave host away, and it is open to this machine alone. Where "
            "a proxy before it speaks TLS and only that proxy reaches the port: insecure: true.",
            "console: {host: 0.0.0.0, port: 8080}",
        ),
        "E471": Story(
            "nobody is signed in",
            "The request has no session and no token, or one that has ended: signed out, too long without a request, "
            "revoked, or the user was disabled or got another password. Nothing of the request was read.",
            "Sign in: POST /api/v1/session. A program sends a token: Authorization: Bearer TOKEN.",
        ),
        "E472": Story(
            "not allowed",
            "Who asks is known, and no role that was granted allows this, or not for this channel.",
            "An admin can give the role: segmill users grant NAME CHANNEL=ROLE, or NAME ROLE for the whole site.",
        ),
        "E473": Story(
            "a request that does not come from the console's own pages",
            "It changes something and was sent with a session's cookie, but from another site (Origin), or without "
            "the session's CSRF token. So a page that somebody was lured to cannot act in their name.",
            "Send the header X-CSRF-Token with what GET /api/v1/session says. Behind a proxy, say how people call the "
            "console: console: {url: https://...}. Programs use a token, which needs neither.",
        ),
        "E474": Story(
            "too many attempts to sign in",
            "After some failures each further attempt for this user, or from this address, has to wait longer. The "
            "answer says how long (Retry-After). Attempts meanwhile are not looked at, good or bad.",
            "Wait. On the engine's own machine a new password can be given at any time: segmill users passwd NAME.",
        ),
        "E475": Story(
            "the password must be changed first",
            "The password was given out, by the first start or by an admin, and is for signing in once: all it allows "
            "is to set another.",
            "PUT /api/v1/session/password.",
        ),
        "E476": Story(
            "a request that is not understood",
            "Its body is not what this address takes, or one of its parameters is not. The answer names the place, and "
            "nothing of what was sent.",
            "See /api/v1/openapi.json.",
        ),
        "E477": Story(
            "a request that is too large",
            "Bounds keep a request from taking the engine's memory.",
            "Ask for less at a time.",
        ),
        "E478": Story(
            "nothing is there",
            "There is no such address, message, channel, user or step; or it is of a channel that is not granted to "
            "who asks, which looks the same.",
            "See the list above it.",
        ),
        "E479": Story(
            "it has changed since the plan",
            "An order is only done as it was planned. Meanwhile messages came or left, or somebody else moved one. "
            "Nothing was done.",
            "Plan again. Where messages keep flowing, pause the destination first, or bound the search with until.",
        ),
        "E480": Story(
            "the engine cannot answer now",
            "It is starting or stopping, did not answer in time, or too many ask at the same moment.",
            "Try again. What was begun may still be done: the same key asks for its outcome, and does nothing twice.",
        ),
        "E481": Story(
            "name or password is wrong",
            "Nothing is said about which: also not whether there is such a user, or whether it is disabled. A password "
            "that was given out works for a day.",
            "Try again, or have an admin give a new one: segmill users passwd NAME.",
        ),
        "E482": Story(
            "a password that may not be one",
            "It is too short or too long, has few different characters, or is the one before.",
            "Take a longer one: several words do.",
        ),
        "E483": Story(
            "the record of what people did is not whole",
            "The chain of hashes breaks: a row was changed, put in, taken away or put elsewhere, by something else "
            "than Segmill.",
            "Keep the store and its copies as they are. Compare with a backup, and with the hashes that the log and "
            "the anchor file have.",
        ),
        "E484": Story(
            "the record does not have what its anchor has",
            "The engine notes the hash of each row outside of the store, in audit.anchor of the data folder. A row "
            "that is noted there is not in the record, or is another one: rows were cut from the end and the chain "
            "made anew, or the store was put back from a backup.",
            "If a backup was restored: move audit.anchor aside, and keep it. Else keep everything as it is, and find "
            "out who could write to the data folder.",
        ),
        "E485": Story(
            "an order that was refused",
            "What was asked for cannot be done, also not later: there is no such destination, the key was used for "
            "something else, the message is in a state that does not allow it. Nothing was done.",
            "The answer says what is in the way.",
        ),
        "E486": Story(
            "the store cannot be read or written now",
            "The request was not carried out; what must be on record and cannot be recorded is not done.",
            "See the engine's log, and the disk.",
        ),
        "E487": Story(
            "a name that the console does not have",
            "The request's Host is none of the console's own names. So a page of another name that resolves to this "
            "address (DNS rebinding) gets nothing.",
            "Call it by its address, or say how people call it: console: {url: https://segmill.example.org}.",
        ),
        "E488": Story(
            "a defect of Segmill",
            "A request ended with an error that nobody expected. The log has the place, and no patient data.",
            "Report it with the line of the log.",
        ),
        "E489": Story(
            "a token that cannot be made so",
            "A token has a name of its own for ever, at least one role, and an end within a year.",
            "Take another name; revoked ones keep theirs, so that the record stays clear.",
        ),
    }
)
