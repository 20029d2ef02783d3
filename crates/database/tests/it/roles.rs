//! What each program may do in the database, and what the database refuses it.

use database::{Role, testing::pool_of_role};
use sqlx::PgPool;
use strum::VariantArray as _;

/// Every right of every role in the schemas of the database, one per line: role, privilege, table, and the
/// columns if the privilege is limited to them. ARCHITECTURE.md has the reasons.
const EXPECTED_PRIVILEGES: &str = "\
auth INSERT accounts.audit_log
auth INSERT accounts.user_identities
auth INSERT accounts.users (id, email, password_hash, name, email_verified_at, tokens_valid_from, created_at, updated_at)
auth INSERT outbox.account_events
auth SELECT accounts.user_identities
auth SELECT accounts.users
auth UPDATE accounts.users (password_hash, email_verified_at, tokens_valid_from, updated_at)
core_api DELETE accounts.phone_codes_sent
core_api DELETE accounts.phone_verifications
core_api DELETE accounts.user_addresses
core_api DELETE accounts.user_identities
core_api DELETE outbox.account_events
core_api DELETE outbox.catalog_events
core_api INSERT accounts.audit_log
core_api INSERT accounts.phone_codes_sent
core_api INSERT accounts.phone_verifications
core_api INSERT accounts.user_addresses
core_api INSERT catalog.products
core_api INSERT outbox.account_events
core_api INSERT outbox.catalog_events
core_api SELECT accounts.audit_log
core_api SELECT accounts.phone_codes_sent
core_api SELECT accounts.phone_verifications
core_api SELECT accounts.user_addresses
core_api SELECT accounts.user_identities
core_api SELECT accounts.users (id, email, name, role, email_verified_at, tokens_valid_from, preferences, phone_number, created_at, updated_at, deleted_at)
core_api SELECT catalog.products
core_api SELECT inventory.stock (product_id, quantity, reserved)
core_api SELECT outbox.account_events
core_api SELECT outbox.catalog_events
core_api UPDATE accounts.phone_verifications
core_api UPDATE accounts.user_addresses
core_api UPDATE accounts.users (email, password_hash, name, role, email_verified_at, tokens_valid_from, preferences, phone_number, updated_at, deleted_at)
core_api UPDATE catalog.products
core_api UPDATE outbox.account_events (attempts, next_attempt_at)
core_api UPDATE outbox.catalog_events (attempts, next_attempt_at)
stock_service DELETE outbox.inventory_events
stock_service INSERT inventory.reservation_items
stock_service INSERT inventory.reservations
stock_service INSERT inventory.stock
stock_service INSERT inventory.stock_adjustments
stock_service INSERT outbox.inventory_events
stock_service SELECT catalog.products (id)
stock_service SELECT inventory.reservation_items
stock_service SELECT inventory.reservations
stock_service SELECT inventory.stock
stock_service SELECT inventory.stock_adjustments
stock_service SELECT outbox.inventory_events
stock_service UPDATE inventory.reservations
stock_service UPDATE inventory.stock
stock_service UPDATE outbox.inventory_events (attempts, next_attempt_at)
";

/// The effective rights, including those of PUBLIC and of roles that a role is a member of.
const ACTUAL_PRIVILEGES: &str = r#"
SELECT concat_ws(' ', rolname, privilege, nspname || '.' || relname, '(' || columns || ')')
FROM pg_roles AS role
CROSS JOIN pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
CROSS JOIN LATERAL (SELECT has_table_privilege(role.oid, class.oid, privilege) AS on_table) AS checked
CROSS JOIN LATERAL (
    SELECT string_agg(attname, ', ' ORDER BY attnum) AS columns
    FROM pg_attribute
    WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped AND NOT on_table
      AND CASE WHEN privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
               THEN has_column_privilege(role.oid, class.oid, attnum, privilege) END
) AS limited
WHERE rolname = ANY($1) AND relkind IN ('r', 'p', 'v', 'm', 'f')
  AND nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
  AND (on_table OR columns IS NOT NULL)
ORDER BY rolname COLLATE "C", privilege COLLATE "C", nspname COLLATE "C", relname COLLATE "C""#;

fn role_names() -> Vec<&'static str> {
    Role::VARIANTS.iter().map(|role| role.name()).collect()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn roles_have_exactly_the_expected_privileges(pool: PgPool) {
    let actual: Vec<String> = sqlx::query_scalar(ACTUAL_PRIVILEGES)
        .bind(role_names())
        .fetch_all(&pool)
        .await
        .unwrap();
    let actual = actual.iter().map(|line| format!("{line}\n"));
    assert_eq!(actual.collect::<String>(), EXPECTED_PRIVILEGES);
}

/// Attributes that would give a role more than its privileges.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn roles_are_unprivileged_and_members_of_no_role(pool: PgPool) {
    let privileged: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_roles
         WHERE rolname = ANY($1)
           AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR NOT rolcanlogin
                OR has_database_privilege(oid, current_database(), 'CREATE, TEMPORARY')
                OR has_schema_privilege(oid, 'public', 'USAGE, CREATE')
                OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
                OR EXISTS (SELECT FROM pg_namespace WHERE has_schema_privilege(pg_roles.oid, oid, 'CREATE')))",
    )
    .bind(role_names())
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(privileged, [] as [&str; 0]);
}

/// Statements that each program must not be able to run. Privileges are checked before rows are read, so
/// empty tables suffice.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_database_refuses_what_a_program_must_not_do(pool: PgPool) {
    let refused = [
        (
            Role::CoreApi,
            &[
                "UPDATE inventory.stock SET quantity = 0",
                "SELECT product_id FROM inventory.stock FOR UPDATE",
                "INSERT INTO inventory.stock_adjustments SELECT * FROM inventory.stock_adjustments",
                "SELECT reservation_id FROM inventory.reservations",
                "SELECT inventory.stale_stock()",
                "DELETE FROM catalog.products",
                "SELECT password_hash FROM accounts.users",
                "DELETE FROM accounts.users",
                "INSERT INTO accounts.users (id) VALUES (gen_random_uuid())",
                "UPDATE accounts.audit_log SET action = 'x'",
                "UPDATE outbox.account_events SET detail = '{}'",
                "SELECT event_id FROM outbox.inventory_events",
                "DELETE FROM outbox.inventory_events",
            ][..],
        ),
        (
            Role::StockService,
            &[
                "UPDATE catalog.products SET price = 1",
                "SELECT price FROM catalog.products",
                "DELETE FROM inventory.reservations",
                "UPDATE inventory.stock_adjustments SET delta = 1",
                "SELECT id FROM accounts.users",
                "INSERT INTO accounts.audit_log SELECT * FROM accounts.audit_log",
                "SELECT event_id FROM outbox.catalog_events",
                "DELETE FROM outbox.catalog_events",
                "SELECT event_id FROM outbox.account_events",
            ],
        ),
        (
            Role::Auth,
            &[
                "SELECT event_id FROM outbox.account_events",
                "DELETE FROM outbox.account_events",
                "SELECT event_id FROM outbox.catalog_events",
                "INSERT INTO outbox.inventory_events SELECT * FROM outbox.inventory_events",
                "UPDATE accounts.users SET role = 'admin'",
                "INSERT INTO accounts.users (id, role) VALUES (gen_random_uuid(), 'admin')",
                "DELETE FROM accounts.users",
                "SELECT id FROM accounts.user_addresses",
                "SELECT code_digest FROM accounts.phone_verifications",
                "SELECT number_digest FROM accounts.phone_codes_sent",
                "SELECT id FROM accounts.audit_log",
                "SELECT id FROM catalog.products",
                "SELECT product_id FROM inventory.stock",
            ],
        ),
    ];
    for (role, statements) in refused {
        let role_pool = pool_of_role(&pool, role);
        for statement in statements.iter().chain(&[
            "CREATE TABLE public.extra ()",
            "SELECT * FROM public._sqlx_migrations",
        ]) {
            let error = sqlx::query(*statement).execute(&role_pool).await.unwrap_err();
            let code = error
                .as_database_error()
                .and_then(|error| error.code().map(String::from));
            assert_eq!(code.as_deref(), Some("42501"), "{role:?}: {statement}: {error}");
        }
    }
}
