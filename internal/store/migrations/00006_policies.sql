-- The life of policy bundles, what each replica decides by, and how a bundle in
-- the shadow differs from the active one. One bundle is active at any time: at
-- first the one that each replica brings along. The zero time is that of Go, in
-- microseconds.

-- +goose Up
CREATE TABLE policy_bundles (
    id           TEXT   NOT NULL PRIMARY KEY,
    counter      BIGINT NOT NULL,
    version      TEXT   NOT NULL,
    target       TEXT   NOT NULL,
    archive      TEXT   NOT NULL,
    policy       TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    checks       TEXT   NOT NULL,
    proposed_by  TEXT   NOT NULL,
    proposed_at  BIGINT NOT NULL,
    approved_by  TEXT   NOT NULL,
    approved_at  BIGINT NOT NULL,
    activated_by TEXT   NOT NULL,
    activated_at BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL,
    shadow_by    TEXT   NOT NULL,
    shadow_at    BIGINT NOT NULL,
    revision     BIGINT NOT NULL
);
CREATE UNIQUE INDEX policy_bundles_active ON policy_bundles (state) WHERE state = 'active';
CREATE UNIQUE INDEX policy_bundles_shadow ON policy_bundles ((shadow_by <> '')) WHERE shadow_by <> '';
CREATE INDEX policy_bundles_by_counter ON policy_bundles (counter, id);
INSERT INTO policy_bundles (id, counter, version, target, archive, policy, state, reason, checks,
    proposed_by, proposed_at, approved_by, approved_at, activated_by, activated_at, ended_at, shadow_by, shadow_at, revision)
VALUES ('base', 0, '', '', '', '', 'active', '', '{"files":0,"bytes":0,"controls":0,"tests":0,"coverage":0}',
    '', -62135596800000000, '', -62135596800000000, '', -62135596800000000, -62135596800000000, '', -62135596800000000, 1);

CREATE TABLE policy_replicas (
    id      TEXT   NOT NULL PRIMARY KEY,
    bundle  TEXT   NOT NULL,
    policy  TEXT   NOT NULL,
    problem TEXT   NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX policy_replicas_by_time ON policy_replicas (at, id);

CREATE TABLE policy_shadow_counts (
    bundle    TEXT   NOT NULL,
    replica   TEXT   NOT NULL,
    decided   BIGINT NOT NULL,
    differing BIGINT NOT NULL,
    failed    BIGINT NOT NULL,
    dropped   BIGINT NOT NULL,
    PRIMARY KEY (bundle, replica)
);

CREATE TABLE policy_shadow_devices (
    bundle  TEXT   NOT NULL,
    device  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    active  TEXT   NOT NULL,
    shadow  TEXT   NOT NULL,
    input   TEXT   NOT NULL,
    changes TEXT   NOT NULL,
    PRIMARY KEY (bundle, device)
);

-- A preview of recorded decisions reads them in the order of their time.
CREATE INDEX decisions_replayed ON decisions (kind, at, id);

-- +goose Down
DROP INDEX decisions_replayed;
DROP TABLE policy_shadow_devices;
DROP TABLE policy_shadow_counts;
DROP TABLE policy_replicas;
DROP TABLE policy_bundles;
