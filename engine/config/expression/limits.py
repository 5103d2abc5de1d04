"""Bounds on expressions, so that no text and no message can exhaust stack, memory or time.

With these, compiling takes time linear in the text. Running takes at most the number of occurrences that one
quantifier goes over times the length of what each is compared with: nothing loops inside a loop (see `grammar`),
patterns run on RE2, and functions build no more than `MAX_BUILT_CHARS`. Where a quantifier's rounds all work on one
long text, that is taken from the message's allowance (`Message.spend`).
"""

MAX_TEXT_CHARS = 20_000
MAX_DEPTH = 32
"""Brackets, `not`, calls and quantifiers inside one another."""
MAX_LIST_ITEMS = 1_000
MAX_ARGUMENTS = 16
MAX_CALLS_IN_A_VALUE = 32
"""Calls inside one outermost call: bounds the values alive at one moment."""
MAX_PATTERN_CHARS = 1_000
MAX_PATTERN_BYTES = 1 << 20
"""RE2's budget for one compiled pattern, its caches included; the pattern that does not fit is refused."""
MAX_PAD_WIDTH = 1_000
MAX_NUMBER_CHARS = 100
"""HL7 NM has 16 characters at most (v2.5.1 section 2.A.47); longer ones are seen, much longer are no numbers."""
MAX_BUILT_CHARS = 1 << 20
"""Longest text that a function may make out of shorter ones; one that does not grow is not bound by it."""
