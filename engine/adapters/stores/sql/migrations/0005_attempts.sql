-- Attempts that did not end a delivery, and what few deliveries have beside their row. A delivery that arrives at its
-- first attempt, as nearly all do, has a row in neither: its own row holds its last attempt.

-- `answer`: what the receiver said, cut. Bounded in number for each delivery (codes.py).
CREATE TABLE attempt (
  delivery INTEGER NOT NULL REFERENCES delivery (id),
  number INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  code TEXT NOT NULL,
  note TEXT NOT NULL,
  answer BLOB NOT NULL,
  PRIMARY KEY (delivery, number)
) WITHOUT ROWID;

-- `since_us`: the first attempt that counts against the limits of retries, 0: none yet; `counted_from`: how many
-- attempts came before it. `origin`: the delivery that this one took over from; `redirects`: how often that happened.
CREATE TABLE delivery_more (
  delivery INTEGER PRIMARY KEY REFERENCES delivery (id),
  since_us INTEGER NOT NULL DEFAULT 0,
  counted_from INTEGER NOT NULL DEFAULT 0,
  origin INTEGER REFERENCES delivery (id),
  redirects INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX delivery_redirected ON delivery_more (origin) WHERE origin IS NOT NULL;
