-- Why:  policy as it was applied, which hosts run which revision, the numbers of its rules in flows, and where it is switched off.
-- Cost: hosts is written anew, a row a host.
-- Undo: there is none; flows that were stored keep the numbers of rules.

-- Every policy that was ever applied. Revisions ascend and are never used again.
CREATE TABLE policies
(
    revision INTEGER NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL, -- YAML, as Weir writes it; every rule has an id
    applied_at TEXT NOT NULL, -- RFC 3339
    applied_by TEXT NOT NULL,
    reason TEXT NOT NULL, -- what was said about it
    bound TEXT NOT NULL -- JSON: what the names in it mean
) STRICT;

-- Which revision is in force: of the host, or, with host '', of all others.
CREATE TABLE policy_in_force
(
    host TEXT NOT NULL PRIMARY KEY, -- UUID, or ''
    revision INTEGER NOT NULL REFERENCES policies (revision)
) STRICT;

-- Numbers of rules in flows: a number is of one rule with one action and one text, for ever.
CREATE TABLE rule_instances
(
    instance INTEGER NOT NULL PRIMARY KEY,
    rule TEXT NOT NULL, -- id of the rule in the policy
    action TEXT NOT NULL, -- 'allow', 'deny', 'shadow'
    digest TEXT NOT NULL, -- of what decides
    tier INTEGER NOT NULL,
    scope INTEGER NOT NULL, -- as in policy_rules
    text TEXT NOT NULL, -- for people
    since TEXT NOT NULL, -- RFC 3339
    until TEXT, -- RFC 3339; null: it is in force
    ends INTEGER NOT NULL -- 1: connections that it let in are ended for a while
) STRICT;

CREATE INDEX rule_instances_until ON rule_instances (until);

-- The rules of the revisions in force, with their numbers and places.
CREATE TABLE policy_rules
(
    revision INTEGER NOT NULL REFERENCES policies (revision),
    tier INTEGER NOT NULL,
    scope INTEGER NOT NULL, -- id of the pool, network, VM or VIF, as a signed number
    rule TEXT NOT NULL,
    instance INTEGER NOT NULL REFERENCES rule_instances (instance),
    rank INTEGER NOT NULL,
    PRIMARY KEY (revision, tier, scope, rule)
) STRICT;

-- Where policy is switched off.
CREATE TABLE bypasses
(
    kind TEXT NOT NULL, -- 'estate', 'pool', 'host', 'vif'
    target TEXT NOT NULL, -- name of the pool, UUID of the host, id of the VIF; '' is the estate
    name TEXT NOT NULL, -- for people
    since TEXT NOT NULL, -- RFC 3339
    set_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (kind, target)
) STRICT;

ALTER TABLE pools ADD COLUMN mode TEXT NOT NULL DEFAULT ''; -- of its hosts that have none of their own: 'observe', 'enforce', '' is observe
ALTER TABLE pools ADD COLUMN sampling TEXT NOT NULL DEFAULT ''; -- 'full', 'new', 'off', '' is as configured

-- '' is the mode of the pool, which is what hosts that nobody detached had.
UPDATE hosts SET mode = '' WHERE mode = 'observe';
