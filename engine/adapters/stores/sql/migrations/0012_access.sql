-- Who may sign in. `grants`: JSON, a role by channel ('*': the site). `must_change`: the password was given out.
CREATE TABLE user (
  name TEXT PRIMARY KEY,
  password TEXT NOT NULL,
  grants TEXT NOT NULL,
  must_change INTEGER NOT NULL,
  until_us INTEGER NOT NULL,
  is_disabled INTEGER NOT NULL,
  created_us INTEGER NOT NULL,
  changed_us INTEGER NOT NULL
) WITHOUT ROWID;

-- Who is signed in. `hash`: SHA-256 of the secret in the cookie, which is kept nowhere.
CREATE TABLE session (
  hash BLOB PRIMARY KEY,
  user TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  seen_us INTEGER NOT NULL,
  until_us INTEGER NOT NULL,
  address TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX session_by_user ON session (user, created_us);

-- What programs sign in with. A revoked one stays, so that its name on record is never another's.
CREATE TABLE api_token (
  name TEXT PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  grants TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  until_us INTEGER NOT NULL,
  is_revoked INTEGER NOT NULL
) WITHOUT ROWID;
