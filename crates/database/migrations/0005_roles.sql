-- One role per program, with the rights that its statements need and no others. The migrations' user owns all
-- tables. `core-api migrate` sets the roles' passwords; a role without one cannot log in.
--
-- Roles belong to the server and not to a database: the migration of another database may have created them,
-- or may create them at this moment.
DO $$
DECLARE
    program text;
BEGIN
    FOREACH program IN ARRAY ARRAY['core_api', 'stock_service', 'auth'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = program);
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', program);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO core_api, stock_service, auth', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION inventory.stale_stock(), accounts.audit_log_is_append_only() FROM PUBLIC;

GRANT USAGE ON SCHEMA catalog TO core_api, stock_service;
GRANT USAGE ON SCHEMA inventory TO core_api, stock_service;
GRANT USAGE ON SCHEMA accounts TO core_api, auth;
GRANT USAGE ON SCHEMA outbox TO core_api, stock_service, auth;

-- stock-service creates the stock of products that exist.
GRANT SELECT, INSERT, UPDATE ON catalog.products TO core_api;
GRANT SELECT (id) ON catalog.products TO stock_service;

-- core-api shows the available units.
GRANT SELECT, INSERT, UPDATE ON inventory.stock, inventory.reservations TO stock_service;
GRANT SELECT, INSERT ON inventory.reservation_items, inventory.stock_adjustments TO stock_service;
GRANT EXECUTE ON FUNCTION inventory.stale_stock() TO stock_service;
GRANT SELECT (product_id, quantity, reserved) ON inventory.stock TO core_api;

-- The auth functions register users and change passwords, but do not assign roles. core-api does not read
-- password hashes; it clears the one of a deleted account.
GRANT SELECT,
      INSERT (id, email, password_hash, name, email_verified_at, tokens_valid_from, created_at, updated_at),
      UPDATE (password_hash, email_verified_at, tokens_valid_from, updated_at)
    ON accounts.users TO auth;
GRANT SELECT (id, email, name, role, email_verified_at, tokens_valid_from, preferences, phone_number, created_at,
              updated_at, deleted_at),
      UPDATE (email, password_hash, name, role, email_verified_at, tokens_valid_from, preferences, phone_number,
              updated_at, deleted_at)
    ON accounts.users TO core_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts.phone_verifications TO core_api;
GRANT SELECT, INSERT, DELETE ON accounts.phone_codes_sent TO core_api;
GRANT SELECT, INSERT ON accounts.user_identities TO auth;
GRANT SELECT, DELETE ON accounts.user_identities TO core_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts.user_addresses TO core_api;
GRANT INSERT ON accounts.audit_log TO auth;
GRANT SELECT, INSERT ON accounts.audit_log TO core_api;

GRANT SELECT, INSERT, UPDATE (attempts, next_attempt_at), DELETE ON outbox.catalog_events TO core_api;
GRANT SELECT, INSERT, UPDATE (attempts, next_attempt_at), DELETE ON outbox.inventory_events TO stock_service;
GRANT INSERT ON outbox.account_events TO auth;
GRANT SELECT, UPDATE (attempts, next_attempt_at), DELETE ON outbox.account_events TO core_api;
