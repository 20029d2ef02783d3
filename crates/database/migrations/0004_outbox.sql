-- The outboxes: events that committed with a change and are not published yet. Empty on a quiet day. Each
-- owner of data has an outbox of its own, so that a program reads and removes the events of its relays only.
CREATE SCHEMA outbox;

-- Written and published by core-api.
CREATE TABLE outbox.catalog_events (
    event_id        uuid PRIMARY KEY,
    source          text        NOT NULL,
    detail_type     text        NOT NULL,
    detail          text        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL
);

CREATE INDEX ON outbox.catalog_events (next_attempt_at);

-- Written and published by stock-service.
CREATE TABLE outbox.inventory_events (LIKE outbox.catalog_events INCLUDING ALL);

-- Written by the auth functions, which run for one request only, and published by core-api.
CREATE TABLE outbox.account_events (LIKE outbox.catalog_events INCLUDING ALL);
