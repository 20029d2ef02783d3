-- The catalog. core-api is its only writer.
CREATE TABLE products (
    id           uuid PRIMARY KEY,
    name         text        NOT NULL,
    description  text        NOT NULL,
    -- {"ja": {"name": …, "description": …}}: texts in other languages, keyed by BCP 47 tag.
    translations jsonb       NOT NULL DEFAULT '{}',
    -- Minor units of the currency.
    price        bigint      NOT NULL CHECK (price >= 0),
    currency     text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    category     text        NOT NULL,
    image_url    text,
    -- Incremented with every change; the ETag contains it.
    version      bigint      NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    -- Deleted products stay, because orders, stock and events refer to them.
    deleted_at   timestamptz
);

-- Lists are read in one of these orders from a cursor on. The id makes each order total.
CREATE INDEX products_by_age ON products (created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX products_by_price ON products (price, id) WHERE deleted_at IS NULL;
CREATE INDEX products_by_category ON products (category, created_at DESC, id DESC) WHERE deleted_at IS NULL;

-- The outbox: events that committed with a change and are not published yet. Empty on a quiet day.
CREATE TABLE event_outbox (
    event_id        uuid PRIMARY KEY,
    source          text        NOT NULL,
    detail_type     text        NOT NULL,
    detail          text        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    -- Set when the relay gave up; an operator has to act.
    parked_at       timestamptz
);

CREATE INDEX event_outbox_due ON event_outbox (next_attempt_at) WHERE parked_at IS NULL;
