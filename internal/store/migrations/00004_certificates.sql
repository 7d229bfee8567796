-- What became of a certificate after its issue: whether its key is to be
-- replaced, whether it takes the place of others, and whether the CA knows that
-- it ended. The zero time is that of Go, in microseconds.

-- +goose Up
ALTER TABLE certificates ADD COLUMN rotate_key BIGINT NOT NULL DEFAULT 0;
ALTER TABLE certificates ADD COLUMN succeeds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE certificates ADD COLUMN ca_confirmed_at BIGINT NOT NULL DEFAULT -62135596800000000;
ALTER TABLE certificates ADD COLUMN ca_attempts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE certificates ADD COLUMN ca_next_at BIGINT NOT NULL DEFAULT -62135596800000000;
ALTER TABLE certificates ADD COLUMN ca_problem TEXT NOT NULL DEFAULT '';
CREATE INDEX certificates_to_revoke ON certificates (ca_next_at, id)
    WHERE ca_confirmed_at = -62135596800000000 AND serial <> '' AND state NOT IN ('intended', 'issued', 'failed');
CREATE INDEX certificates_longest_to_revoke ON certificates (ended_at, id)
    WHERE ca_confirmed_at = -62135596800000000 AND serial <> '' AND state NOT IN ('intended', 'issued', 'failed');
CREATE INDEX certificates_succeeding ON certificates (created_at, id) WHERE succeeds = 1;

-- +goose Down
DROP INDEX certificates_succeeding;
DROP INDEX certificates_longest_to_revoke;
DROP INDEX certificates_to_revoke;
ALTER TABLE certificates DROP COLUMN ca_problem;
ALTER TABLE certificates DROP COLUMN ca_next_at;
ALTER TABLE certificates DROP COLUMN ca_attempts;
ALTER TABLE certificates DROP COLUMN ca_confirmed_at;
ALTER TABLE certificates DROP COLUMN succeeds;
ALTER TABLE certificates DROP COLUMN rotate_key;
