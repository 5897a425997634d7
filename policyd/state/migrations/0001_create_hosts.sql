-- Why:  the first schema: the name of this Weir, pools and hosts, the counter of event ids, and events on their way to the store.
-- Cost: none, the tables are new.
-- Undo: there is none; the hosts would have to be added again.

-- What is Weir's at hosts is marked with it.
CREATE TABLE instance
(
    id TEXT NOT NULL
) STRICT;

CREATE TABLE pools
(
    name TEXT NOT NULL PRIMARY KEY,
    export TEXT NOT NULL -- JSON: how its hosts export flows, where that is other than configured
) STRICT;

CREATE TABLE hosts
(
    uuid TEXT NOT NULL PRIMARY KEY, -- in lower case; ours, or the platform's once it is known
    name TEXT NOT NULL UNIQUE,
    pool TEXT REFERENCES pools (name),
    target TEXT NOT NULL, -- 'ssl:192.0.2.1:6640'; '' is a host that dials in
    trust TEXT NOT NULL, -- why its certificate is believed: 'authority', 'pin', 'none'
    ca TEXT NOT NULL, -- certificates (PEM) of the authority; '' is Weir's own
    cert_name TEXT NOT NULL, -- name that the certificate must be for; '' is any
    pin TEXT NOT NULL, -- fingerprint of the certificate; '' with trust 'pin': nobody has confirmed one yet
    confirmed_at TEXT, -- RFC 3339, of pin
    confirmed_by TEXT NOT NULL,
    old_tls INTEGER NOT NULL, -- 1: cipher suites of old hosts are allowed
    mode TEXT NOT NULL, -- 'observe', 'detach'
    export TEXT NOT NULL, -- JSON: how it exports flows, where that is other than its pool
    added_at TEXT NOT NULL -- RFC 3339
) STRICT;

-- The ids below next were given, or will not be.
CREATE TABLE counters
(
    name TEXT NOT NULL PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;

-- Events that the store does not have yet, and the last that went to where no store keeps count.
CREATE TABLE waiting_events
(
    id INTEGER NOT NULL PRIMARY KEY,
    event TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE positions
(
    name TEXT NOT NULL PRIMARY KEY,
    event INTEGER NOT NULL -- id of the last event that was sent there
) STRICT;
