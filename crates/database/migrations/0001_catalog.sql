-- The catalog. core-api is its only writer.
CREATE SCHEMA catalog;

CREATE TABLE catalog.products (
    id           uuid PRIMARY KEY,
    name         text        NOT NULL,
    description  text        NOT NULL,
    -- {"ja": {"name": …, "description": …}}: texts in other languages, keyed by BCP 47 tag.
    translations jsonb       NOT NULL DEFAULT '{}',
    -- Minor units of the currency, consumption tax included.
    price        bigint      NOT NULL CHECK (price >= 0),
    currency     text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- The rate of that tax: 10 or 8 percent.
    tax_rate     text        NOT NULL DEFAULT 'standard' CHECK (tax_rate IN ('standard', 'reduced')),
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
CREATE INDEX products_by_age ON catalog.products (created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX products_by_price ON catalog.products (price, id) WHERE deleted_at IS NULL;
CREATE INDEX products_by_category ON catalog.products (category, created_at DESC, id DESC) WHERE deleted_at IS NULL;
