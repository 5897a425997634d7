-- Why:  VIFs that send and receive nothing until somebody releases them.
-- Cost: none.
-- Undo: drop the table.

CREATE TABLE quarantines
(
    vif TEXT NOT NULL PRIMARY KEY, -- id of the VIF in decimal digits
    name TEXT NOT NULL, -- for people
    since TEXT NOT NULL, -- RFC 3339
    set_by TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
