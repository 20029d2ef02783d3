-- Stock. stock-service is its only writer; other programs call its HTTP API.
--
-- At every commit, for each product:
--   quantity = sum of its applied adjustments - units of its committed reservations
--   reserved = units of its reservations in status 'reserved'
CREATE SCHEMA inventory;

CREATE TABLE inventory.stock (
    product_id uuid PRIMARY KEY REFERENCES catalog.products (id),
    -- Units in stock, including reserved ones.
    quantity   bigint      NOT NULL CHECK (quantity >= 0),
    -- Reserved units.
    reserved   bigint      NOT NULL CHECK (reserved BETWEEN 0 AND quantity),
    updated_at timestamptz NOT NULL
)
-- Every batch updates a hot product's row. Free space on its page lets PostgreSQL do so without touching the
-- index (HOT updates).
WITH (fillfactor = 50);

-- The caller chooses the id (an order's id), so that a repeated request gets the first response. Refused
-- reservations are stored for the same reason. A release of an unknown id stores a row without items, so that
-- a late reserve request is refused.
CREATE TABLE inventory.reservations (
    reservation_id uuid PRIMARY KEY,
    status         text        NOT NULL
        CHECK (status IN ('reserved', 'committed', 'released', 'expired', 'refused')),
    -- When the reservation expires; null if it does not.
    expires_at     timestamptz,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);

-- Read by the sweep for expired reservations.
CREATE INDEX reservations_expiring ON inventory.reservations (expires_at)
    WHERE status = 'reserved' AND expires_at IS NOT NULL;

-- The units that a reservation holds or requested, one row per product. Rows never change. They have no
-- foreign keys: one statement writes them together with their reservation, a refused reservation may name a
-- product that does not exist, and checking every row would cost as much as writing it.
CREATE TABLE inventory.reservation_items (
    reservation_id uuid   NOT NULL,
    product_id     uuid   NOT NULL,
    quantity       bigint NOT NULL CHECK (quantity > 0),
    -- The available units when the reservation was refused because of this product.
    available      bigint CHECK (available >= 0 AND available < quantity),
    PRIMARY KEY (reservation_id, product_id)
);

-- Units counted, delivered, broken or lost. The sender chooses the id; a known id has no effect.
CREATE TABLE inventory.stock_adjustments (
    adjustment_id uuid PRIMARY KEY,
    product_id    uuid        NOT NULL,
    delta         bigint      NOT NULL CHECK (delta <> 0),
    reason        text        NOT NULL,
    -- False when the adjustment was refused because it would have removed reserved units.
    applied       boolean     NOT NULL,
    -- The product's level after the adjustment, or at its refusal.
    quantity      bigint      NOT NULL,
    reserved      bigint      NOT NULL,
    created_at    timestamptz NOT NULL
);

-- stock-service decides on rows that it has read without locks, and writes in one statement that requires
-- each row to be unchanged. The statement calls this function when a row has changed, which rolls it back.
CREATE FUNCTION inventory.stale_stock() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'stock or a reservation has changed since it was read' USING ERRCODE = 'serialization_failure';
END
$$;
