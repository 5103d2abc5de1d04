-- Large bodies, piece by piece: each piece is committed with whatever else there is to commit, so that no small message
-- waits for a large one. A body in pieces has an empty row in `body`, written with its message; pieces without one are
-- of a message that was never committed, and are forgotten at the next start.
CREATE TABLE body_piece (
  body INTEGER NOT NULL,
  number INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (body, number)
);

CREATE TRIGGER body_gone AFTER DELETE ON body
BEGIN
  DELETE FROM body_piece WHERE body = OLD.id;
END;

-- Every body as one value, however it is kept.
CREATE VIEW whole_body (id, bytes) AS
SELECT id, CASE WHEN length(bytes) > 0 THEN bytes ELSE ifnull(
  (SELECT CAST(group_concat(p.bytes, '') AS BLOB)
    FROM (SELECT bytes FROM body_piece WHERE body = body.id ORDER BY number) p), bytes) END
FROM body;
