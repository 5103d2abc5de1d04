-- What people did: append only, each row's hash covers the hash before it (engine.model.audit). Retention never
-- touches it. `scope` may quote values of messages.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  reason TEXT NOT NULL,
  scope TEXT NOT NULL,
  counts TEXT NOT NULL,
  ids TEXT NOT NULL,
  run TEXT NOT NULL,
  hash BLOB NOT NULL
);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

CREATE TRIGGER audit_is_not_forgotten BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

-- One row: the newest row's id and hash, so that a row that is taken from the end is noticed, too.
CREATE TABLE audit_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  last INTEGER NOT NULL,
  hash BLOB NOT NULL
);

-- What a person has paused; `destination` '': the channel's intake.
CREATE TABLE pause (
  channel TEXT NOT NULL,
  destination TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (channel, destination)
) WITHOUT ROWID;

-- Runs of operations by their idempotency key: how many members were dealt with, and the report so far.
CREATE TABLE operation (
  run TEXT PRIMARY KEY,
  at_us INTEGER NOT NULL,
  action TEXT NOT NULL,
  digest BLOB NOT NULL,
  done INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  report TEXT NOT NULL
) WITHOUT ROWID;

-- Messages that a person edited, and from which.
CREATE TABLE link (
  seq INTEGER PRIMARY KEY,
  origin INTEGER NOT NULL
);

CREATE INDEX link_by_origin ON link (origin);
