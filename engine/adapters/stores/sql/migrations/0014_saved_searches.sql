-- Searches that people keep by a name (ADR 56). `text` may quote a value of a message where `is_shared` is 0.
CREATE TABLE saved_search (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  is_shared INTEGER NOT NULL,
  text TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  changed_us INTEGER NOT NULL,
  UNIQUE (owner, name)
) WITHOUT ROWID;
