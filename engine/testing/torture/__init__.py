"""The torture suite: oddities of MLLP and HL7 as rows of a table, to be run against any peer.

`rows` is what a receiver is put through, `run` puts it through and `judge` says what came of it; `senders` is
what a sender is put through by `segmill listen --torture`. It shares no code with the engine's own intake but
the cutting of MLLP blocks, so that one can convict the other.
"""
