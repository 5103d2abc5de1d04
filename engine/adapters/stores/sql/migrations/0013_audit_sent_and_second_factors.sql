-- One row: up to which record the audit was sent to the repository that keeps it as well.
CREATE TABLE audit_sent (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  last INTEGER NOT NULL
);

-- One-time codes of local users (RFC 6238). `last_step`: the newest that was used. `recovery`: JSON, SHA-256 of each code
-- that is left, in hex.
CREATE TABLE second_factor (
  user TEXT PRIMARY KEY,
  secret BLOB NOT NULL,
  last_step INTEGER NOT NULL,
  recovery TEXT NOT NULL,
  created_us INTEGER NOT NULL
) WITHOUT ROWID;
