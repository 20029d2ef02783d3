//! Rotation of the database passwords of core-api and stock-service while they run.

use e2e::system::{TestSystem, aws::run_shell, env_var, eventually};
use sqlx::{AssertSqlSafe, PgPool};

/// The programs' database roles, and the secrets with their URLs.
const PROGRAMS: [(&str, &str); 2] = [
    ("core_api", "core-api/db-credentials"),
    ("stock_service", "stock-service/db-credentials"),
];

/// Replaces the password `from` in the database and in the secrets, and closes all connections of the roles.
async fn replace_passwords(owner: &PgPool, from: impl Fn(&str) -> String, to: impl Fn(&str) -> String) {
    for (role, secret) in PROGRAMS {
        let (from, to) = (from(role), to(role));
        for statement in [
            format!("ALTER ROLE {role} PASSWORD '{to}'"),
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"),
        ] {
            sqlx::query(AssertSqlSafe(statement))
                .execute(owner)
                .await
                .unwrap();
        }
        // The programs meet the refused password before they can read the new one.
        run_shell(
            &std::env::temp_dir(),
            &format!(
                r#"
                text=$(awslocal secretsmanager get-secret-value --secret-id {secret} --query SecretString --output text)
                new=$(printf %s "$text" | sed 's#://{role}:{from}@#://{role}:{to}@#')
                test "$new" != "$text"
                awslocal secretsmanager put-secret-value --secret-id {secret} --secret-string "$new" 2>&1
                "#
            ),
        )
        .await;
    }
}

/// Writes with core-api, and reads and writes with stock-service, until both succeed.
async fn await_access_to_the_database(system: &TestSystem) {
    eventually("core-api and stock-service to reach the database", async || {
        let ready = async |url: &str| {
            let response = system.http.get(format!("{url}/ready")).send().await;
            response.is_ok_and(|response| response.status() == 200)
        };
        (ready(&system.core_api_url).await && ready(&system.stock_service_url).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn containers_follow_a_changed_database_password() {
    let system = TestSystem::exclusive().await;
    let lantern = system.create_product(1000, 5).await;
    let owner = PgPool::connect(&env_var("DATABASE_URL")).await.unwrap();

    let (original, rotated) = (
        |role: &str| role.to_owned(),
        |role: &str| format!("{role}-rotated"),
    );
    replace_passwords(&owner, original, rotated).await;
    await_access_to_the_database(&system).await;
    let customer = system.customer().await;
    let order = system.place_order(&customer, &lantern, 2, "pm_card_visa").await;
    let order = system.wait_for_final_status(&customer, order).await;

    replace_passwords(&owner, rotated, original).await;
    await_access_to_the_database(&system).await;
    assert_eq!(order["status"], "completed");
    assert_eq!(system.stock_quantities(&lantern).await, (3, 0));
}
