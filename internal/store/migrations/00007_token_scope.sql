-- Which devices a token is good for: an object of labels that a device must
-- have. An empty one is good for the whole fleet.

-- +goose Up
ALTER TABLE tokens ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';

-- +goose Down
ALTER TABLE tokens DROP COLUMN scope;
