-- Why:  who may use Weir: users, their tokens and sessions.
-- Cost: none, the tables are new.
-- Undo: DROP TABLE sessions, tokens, users; nobody can log in then, the admin socket works as before.

CREATE TABLE users
(
    name TEXT NOT NULL PRIMARY KEY,
    role TEXT NOT NULL, -- 'superuser', 'operator', 'viewer'
    password TEXT NOT NULL, -- argon2id in the form of PHC; '': nobody can log in by it
    one_time INTEGER NOT NULL, -- 1: it must be changed before anything else is done
    disabled INTEGER NOT NULL, -- 1: whatever he presents is refused
    comment TEXT NOT NULL,
    version INTEGER NOT NULL, -- ascends with each change of the above
    created_at TEXT NOT NULL, -- RFC 3339
    seen_at TEXT -- RFC 3339: last login; null: never
) STRICT;

CREATE TABLE tokens
(
    id TEXT NOT NULL PRIMARY KEY, -- the first part of the token
    user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    name TEXT NOT NULL, -- for people
    hash BLOB NOT NULL, -- SHA-256 of the whole token, which is random
    scopes TEXT NOT NULL, -- JSON: what it may be used for
    created_at TEXT NOT NULL, -- RFC 3339
    expires_at TEXT NOT NULL, -- RFC 3339
    used_at TEXT, -- RFC 3339, within minutes; null: never
    UNIQUE (user, name)
) STRICT;

CREATE TABLE sessions
(
    hash BLOB NOT NULL PRIMARY KEY, -- SHA-256 of the cookie, which is random
    id TEXT NOT NULL UNIQUE, -- by which people name it
    user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    csrf TEXT NOT NULL, -- what changing requests repeat
    source TEXT NOT NULL, -- address of the login
    agent TEXT NOT NULL, -- what the browser said it is
    created_at TEXT NOT NULL, -- RFC 3339
    expires_at TEXT NOT NULL, -- RFC 3339
    used_at TEXT NOT NULL -- RFC 3339, within minutes
) STRICT;

CREATE INDEX sessions_user ON sessions (user);
