-- Encryption at rest (engine/adapters/stores/sealing.py). No row in `sealing`: the store is plain.

-- One row. `store`: random, what its keys are bound to. `state`: sealed; or what it is on the way to, `sealing`,
-- `unsealing`, `resealing`. `progress`: JSON, how far that is; of one that is sealed, a restore that is to be put on record.
CREATE TABLE sealing (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  store BLOB NOT NULL,
  state TEXT NOT NULL,
  progress TEXT NOT NULL
);

-- The store's own keys, closed with the site's key `key_id`. `number`: 0 for tokens, from 1 for data. `used`: at most so
-- many values were sealed with it, counted ahead.
CREATE TABLE sealing_key (
  number INTEGER PRIMARY KEY,
  key_id TEXT NOT NULL,
  wrapped BLOB NOT NULL,
  created_us INTEGER NOT NULL,
  wrapped_us INTEGER NOT NULL,
  used INTEGER NOT NULL
);
