-- One row: up to which record the audit was sent to the repository that keeps it as well.
CREATE TABLE audit_sent (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  last INTEGER NOT NULL
);
