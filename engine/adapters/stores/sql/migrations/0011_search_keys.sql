-- What messages are looked up by (engine/adapters/stores/keys.py). `keys`: keyed hashes of the values, 8 bytes each;
-- null: never read, as of what was stored before this step.
ALTER TABLE message ADD COLUMN keys BLOB;

-- One row. `secret`: what the hashes are keyed with. `unread`: up to this seq, keys are still to be read.
CREATE TABLE key_setup (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  secret BLOB NOT NULL,
  unread INTEGER NOT NULL
);

INSERT INTO key_setup (id, secret, unread) SELECT 1, randomblob(16), ifnull(max(seq), 0) FROM message;

-- The messages of a block of 4,096 seqs, by hash: made once the block is full, so that a commit writes nothing but its
-- messages. `is_stale`: messages of it are gone since.
CREATE TABLE key_block (
  number INTEGER PRIMARY KEY,
  is_stale INTEGER NOT NULL
);

CREATE INDEX key_block_stale ON key_block (number) WHERE is_stale = 1;

-- `id`: 128 times the block's number, and the bucket: the lowest bits of the hash. `entries`: 8 bytes of hash, 2 bytes of
-- place in the block. `crc`: CRC-32 of the entries and the id.
CREATE TABLE key_entry (
  id INTEGER PRIMARY KEY,
  entries BLOB NOT NULL,
  crc INTEGER NOT NULL
);
