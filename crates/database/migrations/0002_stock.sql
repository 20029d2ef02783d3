-- Stock. stock-service is its only writer; everybody else asks it over HTTP.
--
-- At every commit, for each product:
--   quantity = what its applied adjustments add up to - what its committed reservations hold
--   reserved = what its reservations in status 'reserved' hold
CREATE TABLE stock (
    product_id uuid PRIMARY KEY REFERENCES products (id),
    -- Pieces in the house.
    quantity   bigint      NOT NULL CHECK (quantity >= 0),
    -- Of these, pieces set aside.
    reserved   bigint      NOT NULL CHECK (reserved BETWEEN 0 AND quantity),
    updated_at timestamptz NOT NULL
)
-- A hot product's row is rewritten with every batch. Free room on its page lets PostgreSQL do so without
-- touching the index.
WITH (fillfactor = 50);

-- The caller chooses the id (an order's own), so that a second request finds the first one's answer.
-- Refused reservations stay for the same reason. A release of an unknown id leaves a row without items, which
-- refuses the reservation when it comes late.
CREATE TABLE reservations (
    reservation_id uuid PRIMARY KEY,
    status         text        NOT NULL
        CHECK (status IN ('reserved', 'committed', 'released', 'expired', 'refused')),
    -- When it falls back by itself; null when it does not.
    expires_at     timestamptz,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);

-- What the sweep for expired reservations reads.
CREATE INDEX reservations_expiring ON reservations (expires_at)
    WHERE status = 'reserved' AND expires_at IS NOT NULL;

-- What a reservation holds or asked for, one row for each product. Rows never change. They have no foreign
-- keys: each is written together with its reservation by the one statement that writes either, a refused
-- one may name a product that never was, and a check of every row would cost as much as writing it.
CREATE TABLE reservation_items (
    reservation_id uuid   NOT NULL,
    product_id     uuid   NOT NULL,
    quantity       bigint NOT NULL CHECK (quantity > 0),
    -- Where the reservation was refused for want of this product: what could be bought of it then.
    available      bigint CHECK (available >= 0 AND available < quantity),
    PRIMARY KEY (reservation_id, product_id)
);

-- Pieces counted, delivered, broken or lost. The sender chooses the id, and the same id counts once.
CREATE TABLE stock_adjustments (
    adjustment_id uuid PRIMARY KEY,
    product_id    uuid        NOT NULL,
    delta         bigint      NOT NULL CHECK (delta <> 0),
    reason        text        NOT NULL,
    -- Refused when it would have taken pieces that are set aside.
    applied       boolean     NOT NULL,
    -- The product's level after it was applied, or that it was refused at.
    quantity      bigint      NOT NULL,
    reserved      bigint      NOT NULL,
    created_at    timestamptz NOT NULL
);
