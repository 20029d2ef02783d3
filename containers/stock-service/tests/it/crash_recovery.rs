//! An instance is killed in the middle of a batch while another one keeps running.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use database::testing::database_url;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::support::{AUDIENCE, ISSUER, TestApp, lines_json, new_id, problem_slug, send_and_parse};

/// The real executable as a child process, killed on drop.
struct ServiceProcess {
    process: Child,
    base_url: String,
    jwks_path: std::path::PathBuf,
}

impl ServiceProcess {
    async fn start(app: &TestApp) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let jwks_path = std::env::temp_dir().join(format!("stock-service-{}.jwks.json", new_id()));
        std::fs::write(&jwks_path, TestApp::jwks()).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_stock-service"))
            .env("PORT", address.port().to_string())
            .env("BIND_ADDRESS", "127.0.0.1")
            .env("DATABASE_URL", database_url(&app.service_pool.connect_options()))
            .env("AUTH_JWKS_PATH", &jwks_path)
            .env("AUTH_ISSUER", ISSUER)
            .env("AUTH_AUDIENCE", AUDIENCE)
            // SQS and EventBridge are unreachable, which must not affect HTTP requests.
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .env("AWS_REGION", "ap-northeast-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let instance = Self {
            process,
            base_url: format!("http://{address}"),
            jwks_path,
        };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        while client
            .get(format!("{}/health", instance.base_url))
            .send()
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
        instance
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.jwks_path);
    }
}

/// Locks a product's stock row, so that writers of it block.
async fn lock_stock_row(pool: &PgPool, product: domain::ProductId) -> Transaction<'static, Postgres> {
    let mut lock_transaction = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM inventory.stock WHERE product_id = $1 FOR UPDATE")
        .bind(product.0)
        .execute(&mut *lock_transaction)
        .await
        .unwrap();
    lock_transaction
}

/// Waits until that many transactions of this test's database are blocked by a lock.
async fn wait_for_blocked_transactions(pool: &PgPool, transactions: i64) {
    let blocked_count = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(blocked_count)
        .fetch_one(pool)
        .await
        .unwrap()
        < transactions
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reserves, and repeats the request while the response is 503, because the tests start once the database has
/// the request.
async fn reserve_until_available(
    app: &TestApp,
    id: Uuid,
    lines: &[(domain::ProductId, u32)],
) -> (StatusCode, Value) {
    loop {
        let response = app.reserve(id, lines).await;
        if response.0 != StatusCode::SERVICE_UNAVAILABLE {
            return response;
        }
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn batch_of_killed_process_is_atomic(pool: PgPool) {
    let surviving = TestApp::start(&pool).await;
    let products = [
        surviving.create_product_with_stock(100).await,
        surviving.create_product_with_stock(100).await,
    ];
    let mut killed = ServiceProcess::start(&surviving).await;
    let id = new_id();
    let lines = [(products[0], 3), (products[1], 2)];

    let lock_transaction = lock_stock_row(&pool, products[1]).await;
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/v1/reservations", killed.base_url))
        .bearer_auth(surviving.token())
        .json(&json!({"reservation_id": id, "items": lines_json(&lines)}));
    let request_task = tokio::spawn(async move {
        loop {
            match request
                .try_clone()
                .expect("an in-memory body can be cloned")
                .send()
                .await
            {
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {}
                outcome => return outcome,
            }
        }
    });
    wait_for_blocked_transactions(&pool, 1).await;
    killed.kill();
    assert!(
        request_task.await.unwrap().is_err(),
        "the killed process does not respond"
    );

    // The retry reaches another instance while the killed process's statement is still blocked by the row
    // lock.
    let retry = {
        let surviving = surviving.clone();
        tokio::spawn(async move { reserve_until_available(&surviving, id, &lines).await })
    };
    wait_for_blocked_transactions(&pool, 2).await;
    lock_transaction.rollback().await.unwrap();
    let (code, reservation) = retry.await.unwrap();
    assert_eq!((code.as_u16(), &reservation["status"]), (201, &json!("reserved")));

    assert_eq!(surviving.stock_level(products[0]).await, (100, 3));
    assert_eq!(surviving.stock_level(products[1]).await, (100, 2));
    surviving.assert_consistent().await;
    assert_eq!(surviving.events("StockReserved").await.len(), 1);

    // The same request again, and with a different body.
    assert_eq!(surviving.reserve(id, &lines).await, (code, reservation));
    let (code, problem) = surviving.reserve(id, &[(products[0], 1)]).await;
    assert_eq!(
        (code.as_u16(), problem_slug(&problem)),
        (422, "reservation-mismatch")
    );
    let another = ServiceProcess::start(&surviving).await;
    let request_to_another = |lines: Value| {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("{}/v1/reservations", another.base_url))
            .bearer_auth(surviving.token())
            .json(&json!({"reservation_id": id, "items": lines}))
    };
    assert_eq!(
        send_and_parse(request_to_another(lines_json(&lines))).await.0,
        StatusCode::CREATED
    );
    let (code, problem) = send_and_parse(request_to_another(lines_json(&[(products[1], 2)]))).await;
    assert_eq!(
        (code.as_u16(), problem_slug(&problem)),
        (422, "reservation-mismatch")
    );
    assert_eq!(surviving.stock_level(products[1]).await, (100, 2));
}

/// Both instances read the row before either writes it: the slower one must decide again.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn conflicting_batch_is_decided_again(pool: PgPool) {
    let first_app = TestApp::start(&pool).await;
    let second_app = first_app.start_another().await;
    let product = first_app.create_product_with_stock(10).await;

    let lock_transaction = lock_stock_row(&pool, product).await;
    let spawn_reserve = |app: &TestApp| {
        let app = app.clone();
        tokio::spawn(async move {
            reserve_until_available(&app, new_id(), &[(product, 6)])
                .await
                .0
                .as_u16()
        })
    };
    let requests = [spawn_reserve(&first_app), spawn_reserve(&second_app)];
    wait_for_blocked_transactions(&pool, 2).await;
    lock_transaction.rollback().await.unwrap();

    let mut codes = Vec::new();
    for response in requests {
        codes.push(response.await.unwrap());
    }
    codes.sort_unstable();
    assert_eq!(
        codes,
        [201, 409],
        "only one request for six of ten units succeeds"
    );
    assert_eq!(first_app.stock_level(product).await, (10, 6));
    first_app.assert_consistent().await;
}
