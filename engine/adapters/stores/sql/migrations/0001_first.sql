-- A store of Segmill (application_id 'SEGM'). Times are microseconds since 1970 UTC.
-- States are numbers, listed in engine/adapters/stores/codes.py.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE channel (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

-- `window`: how many of its deliveries may have been sent and not recorded when the engine is killed.
CREATE TABLE lane (
  id INTEGER PRIMARY KEY,
  channel INTEGER NOT NULL REFERENCES channel (id),
  destination TEXT NOT NULL,
  window INTEGER NOT NULL DEFAULT 1,
  UNIQUE (channel, destination)
);

-- `crc` is zlib's CRC-32 of the received bytes. `body` is null once they were pruned.
-- `ack` stays with the metadata: a resend is answered with it after the bytes are gone.
CREATE TABLE message (
  seq INTEGER PRIMARY KEY,
  receive_id BLOB NOT NULL,
  channel INTEGER NOT NULL REFERENCES channel (id),
  version INTEGER NOT NULL,
  received_at_us INTEGER NOT NULL,
  sender TEXT NOT NULL,
  peer TEXT NOT NULL,
  message_type TEXT NOT NULL,
  control_id TEXT NOT NULL,
  body_hash BLOB NOT NULL,
  state INTEGER NOT NULL,
  ack_code TEXT NOT NULL,
  findings TEXT NOT NULL,
  body INTEGER REFERENCES body (id),
  crc INTEGER NOT NULL,
  ack BLOB NOT NULL
);

-- Resends are looked for by all three; control ids mostly grow, so the index is written at its end.
CREATE INDEX message_by_control_id ON message (control_id, channel, sender);

-- The few that are not through: received, held, rejected, discarded.
CREATE INDEX message_aside ON message (state) WHERE state = 0 OR state = 3 OR state = 4 OR state = 5;

CREATE TABLE body (
  id INTEGER PRIMARY KEY,
  bytes BLOB NOT NULL
);

-- `body` null: the message's own bytes. `crc`: CRC-32 of what is to be sent, mixed with the lane's id,
-- so that a delivery whose body, message or lane reference was damaged cannot send the wrong bytes.
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY,
  seq INTEGER NOT NULL REFERENCES message (seq),
  lane INTEGER NOT NULL REFERENCES lane (id),
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_at_us INTEGER NOT NULL,
  done_at_us INTEGER NOT NULL,
  code TEXT NOT NULL,
  note TEXT NOT NULL,
  maybe_sent INTEGER NOT NULL,
  body INTEGER REFERENCES body (id),
  crc INTEGER NOT NULL,
  answer BLOB NOT NULL
);

CREATE INDEX delivery_by_message ON delivery (seq);
-- `state` is in it only so that a lane can be counted without a look at its rows.
CREATE INDEX delivery_queued ON delivery (lane, state) WHERE state = 0;
-- Held and failed.
CREATE INDEX delivery_aside ON delivery (state, lane) WHERE state = 2 OR state = 3;

-- How many messages of a channel are in a state: kept by every commit, so that nobody has to count rows.
CREATE TABLE tally (
  channel INTEGER NOT NULL REFERENCES channel (id),
  state INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  PRIMARY KEY (channel, state)
) WITHOUT ROWID;

-- A row wherever a message's hour of receipt differs from that of the message before it: turns a time
-- into a range of seqs without an index on time, and stays right when the clock jumps.
CREATE TABLE hour (
  first_seq INTEGER PRIMARY KEY,
  hour INTEGER NOT NULL
);

-- Files of channels, each content once; the hash is BLAKE2b, 32 bytes.
CREATE TABLE file (
  id INTEGER PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  bytes BLOB NOT NULL
);

CREATE TABLE channel_version (
  id INTEGER PRIMARY KEY,
  channel INTEGER NOT NULL REFERENCES channel (id),
  hash BLOB NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  UNIQUE (channel, hash)
);

CREATE TABLE channel_version_file (
  version INTEGER NOT NULL REFERENCES channel_version (id),
  path TEXT NOT NULL,
  file INTEGER NOT NULL REFERENCES file (id),
  PRIMARY KEY (version, path)
) WITHOUT ROWID;
