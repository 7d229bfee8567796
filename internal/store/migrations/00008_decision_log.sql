-- The decision log is read newest first. What is of one device, or of one kind,
-- has an index already.

-- +goose Up
CREATE INDEX decisions_newest ON decisions (at, id);

-- +goose Down
DROP INDEX decisions_newest;
