-- Fragments of messages that are not complete yet (state 6): few, and read at every start.
CREATE INDEX message_waiting ON message (channel, seq) WHERE state = 6;
