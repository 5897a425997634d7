-- Why:  revisions say from where they came and what they replaced, and wait to be confirmed; drafts; what is told of changes.
-- Cost: policies is written anew, a row a revision. Texts stay uncompressed until their revision is pruned.
-- Undo: there is none; revisions keep their numbers.

-- Texts of policies: of revisions and of drafts, each once.
CREATE TABLE documents
(
    id INTEGER NOT NULL PRIMARY KEY,
    digest TEXT UNIQUE, -- SHA-256, hexadecimal; null of texts that were there before this table
    packed INTEGER NOT NULL, -- 1: text is compressed with zstd
    size INTEGER NOT NULL, -- bytes, unpacked
    text BLOB NOT NULL -- YAML, UTF-8
) STRICT;

INSERT INTO documents (id, digest, packed, size, text) SELECT revision, NULL, 0, length(CAST(policy AS BLOB)), CAST(policy AS BLOB) FROM policies;

ALTER TABLE policies ADD COLUMN document INTEGER NOT NULL DEFAULT 0; -- id in documents
UPDATE policies SET document = revision;
ALTER TABLE policies DROP COLUMN policy;
ALTER TABLE policies ADD COLUMN source TEXT NOT NULL DEFAULT ''; -- from where it was applied
ALTER TABLE policies ADD COLUMN kind TEXT NOT NULL DEFAULT 'apply'; -- 'apply', 'restore', 'rollback'
ALTER TABLE policies ADD COLUMN origin INTEGER NOT NULL DEFAULT 0; -- of 'restore': the revision that was brought back; of 'rollback': the one that was undone
ALTER TABLE policies ADD COLUMN replaces INTEGER NOT NULL DEFAULT 0; -- revision that was in force there before; 0: none
ALTER TABLE policies ADD COLUMN hosts TEXT NOT NULL DEFAULT '[]'; -- JSON: names of the hosts at which it was put in force; []: all
ALTER TABLE policies ADD COLUMN rules INTEGER NOT NULL DEFAULT 0; -- in it
ALTER TABLE policies ADD COLUMN counts TEXT NOT NULL DEFAULT '{}'; -- JSON: how many rules and groups differ from those of replaces
ALTER TABLE policies ADD COLUMN deadline TEXT; -- RFC 3339, until when it was to be confirmed; null: it was not to be
ALTER TABLE policies ADD COLUMN confirmed_at TEXT; -- RFC 3339
ALTER TABLE policies ADD COLUMN confirmed_by TEXT NOT NULL DEFAULT '';
UPDATE policies SET replaces = revision - 1;
CREATE INDEX policies_document ON policies (document);

INSERT INTO counters (name, next) SELECT 'revision', ifnull(max(revision), 0) + 1 FROM policies;

-- The revision that is undone at its deadline unless somebody confirms it: at most one row. The rules of the revisions in back stay in policy_rules.
CREATE TABLE policy_pending
(
    revision INTEGER NOT NULL PRIMARY KEY REFERENCES policies (revision),
    deadline TEXT NOT NULL, -- RFC 3339
    back TEXT NOT NULL -- JSON: revisions in force before, by UUID of the host, '' is all others; as policy_in_force
) STRICT;

CREATE TABLE drafts
(
    owner TEXT NOT NULL, -- user
    name TEXT NOT NULL,
    base INTEGER NOT NULL, -- newest revision when it was begun, or brought up to date
    version INTEGER NOT NULL, -- ascends with each change of it, also when one is undone
    step INTEGER NOT NULL, -- where it stands in draft_steps
    created_at TEXT NOT NULL, -- RFC 3339
    changed_at TEXT NOT NULL, -- RFC 3339
    PRIMARY KEY (owner, name)
) STRICT;

-- What a draft was after each edit: what undo goes back to, and redo forward.
CREATE TABLE draft_steps
(
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    step INTEGER NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id),
    at TEXT NOT NULL, -- RFC 3339
    what TEXT NOT NULL, -- was done, for people
    PRIMARY KEY (owner, name, step),
    FOREIGN KEY (owner, name) REFERENCES drafts (owner, name) ON DELETE CASCADE
) STRICT;

CREATE INDEX draft_steps_document ON draft_steps (document);

-- What is told of changes, on its way to the store: JSON, as in package audit.
CREATE TABLE waiting_audit
(
    id INTEGER NOT NULL PRIMARY KEY,
    entry TEXT NOT NULL
) STRICT;

-- In a copy that was not opened yet: when it is, counters go on far beyond what may have been given meanwhile. Restoring a copy of before this table made it already.
CREATE TABLE IF NOT EXISTS copied
(
    taken_at TEXT NOT NULL, -- RFC 3339
    taken_by TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
