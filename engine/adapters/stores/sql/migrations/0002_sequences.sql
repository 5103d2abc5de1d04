-- Where the links of senders stand that number their messages (MSH-13): the last number that was accepted,
-- -1 where the link starts anew. Written in the transaction of the message.
CREATE TABLE sequence (
  channel INTEGER NOT NULL REFERENCES channel (id),
  sender TEXT NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (channel, sender)
) WITHOUT ROWID;
