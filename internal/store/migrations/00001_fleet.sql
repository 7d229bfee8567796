-- The schema that SQLite and PostgreSQL share. SQLite takes any type name; only
-- what both understand is used. Times are microseconds since the Unix epoch,
-- BIGINT also carries booleans (0, 1) and unsigned numbers (by bit pattern).

-- +goose Up
CREATE TABLE devices (
    id                  TEXT   NOT NULL PRIMARY KEY,
    name                TEXT   NOT NULL,
    model               TEXT   NOT NULL,
    labels              TEXT   NOT NULL,
    lifecycle           TEXT   NOT NULL,
    lifecycle_reason    TEXT   NOT NULL,
    lifecycle_at        BIGINT NOT NULL,
    registered_at       BIGINT NOT NULL,
    enrolled_at         BIGINT NOT NULL,
    manufacturer        TEXT   NOT NULL,
    ek_public           BYTEA,
    ek_certificate      BYTEA,
    ak_public           BYTEA,
    tls_public          BYTEA,
    verdict             TEXT   NOT NULL,
    verdict_at          BIGINT NOT NULL,
    verdict_since       BIGINT NOT NULL,
    fresh_until         BIGINT NOT NULL,
    last_seen           BIGINT NOT NULL,
    next_check_in       BIGINT NOT NULL,
    last_nonce          BIGINT NOT NULL,
    firmware_version    TEXT   NOT NULL,
    firmware_counter    BIGINT NOT NULL,
    clock_reset_count   BIGINT NOT NULL,
    clock_restart_count BIGINT NOT NULL,
    clock_ms            BIGINT NOT NULL,
    clock_safe          BIGINT NOT NULL,
    revision            BIGINT NOT NULL
);
CREATE UNIQUE INDEX devices_name_taken ON devices (name) WHERE name <> '' AND lifecycle <> 'retired';
CREATE INDEX devices_by_name ON devices (name, id);
CREATE INDEX devices_by_model ON devices (model, id);
CREATE INDEX devices_by_model_and_lifecycle ON devices (model, lifecycle, id);
CREATE INDEX devices_by_lifecycle ON devices (lifecycle, id);
-- NOT IN, because SQLite would answer IN from devices_by_lifecycle.
CREATE INDEX devices_overdue ON devices (fresh_until)
    WHERE lifecycle NOT IN ('pending', 'retired') AND verdict <> 'unknown';

CREATE TABLE postures (
    device      TEXT   NOT NULL PRIMARY KEY REFERENCES devices (id),
    at          BIGINT NOT NULL,
    verdict     TEXT   NOT NULL,
    controls    TEXT   NOT NULL,
    attestation TEXT   NOT NULL,
    reported    TEXT   NOT NULL,
    decision    TEXT   NOT NULL,
    evidence    TEXT   NOT NULL
);

CREATE TABLE decisions (
    id       TEXT   NOT NULL PRIMARY KEY,
    kind     TEXT   NOT NULL,
    device   TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    policy   TEXT   NOT NULL,
    input    TEXT   NOT NULL,
    evidence TEXT   NOT NULL,
    answer   TEXT   NOT NULL,
    document TEXT   NOT NULL
);
CREATE INDEX decisions_by_device ON decisions (device, at, id);

CREATE TABLE blobs (
    digest  TEXT NOT NULL PRIMARY KEY,
    content BYTEA
);

CREATE TABLE enrollments (
    id             TEXT   NOT NULL PRIMARY KEY,
    device         TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    model          TEXT   NOT NULL,
    ek_public      BYTEA,
    ek_certificate BYTEA,
    manufacturer   TEXT   NOT NULL,
    ek_problem     TEXT   NOT NULL,
    ak_public      BYTEA,
    tls_public     BYTEA,
    secret_sha256  BYTEA,
    nonce          BYTEA,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL
);
CREATE INDEX enrollments_by_expiry ON enrollments (expires_at);

-- A certificate's intent is written before its device is, so it references none.
CREATE TABLE certificates (
    id         TEXT   NOT NULL PRIMARY KEY,
    device     TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    serial     TEXT   NOT NULL,
    der        BYTEA,
    key_sha256 BYTEA,
    created_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after  BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX certificates_serial ON certificates (serial) WHERE serial <> '';
CREATE INDEX certificates_by_device ON certificates (device, created_at, id);
CREATE INDEX certificates_intended ON certificates (created_at, id) WHERE state = 'intended';

CREATE TABLE manufacturers (
    name     TEXT   NOT NULL PRIMARY KEY,
    pem      BYTEA,
    added_at BIGINT NOT NULL,
    added_by TEXT   NOT NULL
);

CREATE TABLE tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    operator   TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    sha256     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX tokens_sha256 ON tokens (sha256);

CREATE TABLE alerts (
    id              TEXT   NOT NULL PRIMARY KEY,
    subject         TEXT   NOT NULL,
    alert_key       TEXT   NOT NULL,
    device          TEXT   NOT NULL,
    title           TEXT   NOT NULL,
    severity        TEXT   NOT NULL,
    state           TEXT   NOT NULL,
    reason          TEXT   NOT NULL,
    seen            BIGINT NOT NULL,
    opened_at       BIGINT NOT NULL,
    last_at         BIGINT NOT NULL,
    acknowledged_by TEXT   NOT NULL,
    acknowledged_at BIGINT NOT NULL,
    resolved_at     BIGINT NOT NULL,
    revision        BIGINT NOT NULL
);
CREATE UNIQUE INDEX alerts_unresolved ON alerts (subject, alert_key) WHERE state <> 'resolved';
CREATE INDEX alerts_by_subject ON alerts (subject, opened_at, id);
CREATE INDEX alerts_by_time ON alerts (opened_at, id);
CREATE INDEX alerts_open_by_time ON alerts (opened_at, id) WHERE state <> 'resolved';

CREATE TABLE rollouts (
    id         TEXT   NOT NULL PRIMARY KEY,
    model      TEXT   NOT NULL,
    version    TEXT   NOT NULL,
    counter    BIGINT NOT NULL,
    target     TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    plan       TEXT   NOT NULL,
    wave       BIGINT NOT NULL,
    wave_done  BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    started_by TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    revision   BIGINT NOT NULL
);
CREATE UNIQUE INDEX rollouts_live ON rollouts (model, version)
    WHERE state IN ('proposed', 'running', 'paused', 'halted');
CREATE UNIQUE INDEX rollouts_open ON rollouts (model)
    WHERE state IN ('running', 'paused', 'halted');
CREATE INDEX rollouts_by_model ON rollouts (model, created_at, id);
CREATE INDEX rollouts_by_state ON rollouts (state, created_at, id);
CREATE INDEX rollouts_by_time ON rollouts (created_at, id);

CREATE TABLE members (
    rollout    TEXT   NOT NULL REFERENCES rollouts (id),
    device     TEXT   NOT NULL REFERENCES devices (id),
    wave       BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    offered_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (rollout, device)
);
CREATE INDEX members_by_device ON members (device);

-- place orders the events of one change.
CREATE TABLE events (
    id      TEXT   NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL,
    place   BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    detail  TEXT   NOT NULL
);
CREATE INDEX events_by_time ON events (at, place, id);
CREATE INDEX events_by_subject ON events (subject, at, place, id);

-- +goose Down
DROP TABLE events;
DROP TABLE members;
DROP TABLE rollouts;
DROP TABLE alerts;
DROP TABLE tokens;
DROP TABLE manufacturers;
DROP TABLE certificates;
DROP TABLE enrollments;
DROP TABLE blobs;
DROP TABLE decisions;
DROP TABLE postures;
DROP TABLE devices;
