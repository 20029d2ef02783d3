//! An instance that is killed in the middle of a batch, beside another one that lives.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::support::{AUDIENCE, ISSUER, TestApp, lines_json, new_id, problem_slug, send_and_parse};

/// The real executable as a process of its own, killed in the end at the latest.
struct ServiceProcess {
    process: Child,
    base_url: String,
    jwks_path: std::path::PathBuf,
}

impl ServiceProcess {
    async fn start(shop: &TestApp) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let keys = std::env::temp_dir().join(format!("stock-service-{}.jwks.json", new_id()));
        std::fs::write(&keys, TestApp::jwks()).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_stock-service"))
            .env("PORT", free.port().to_string())
            .env("BIND_ADDRESS", "127.0.0.1")
            .env(
                "DATABASE_URL",
                shop.pool.connect_options().to_url_lossy().as_str(),
            )
            .env("AUTH_JWKS_PATH", &keys)
            .env("AUTH_ISSUER", ISSUER)
            .env("AUTH_AUDIENCE", AUDIENCE)
            // Its queue and its bus are away, which must not matter.
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
            base_url: format!("http://{free}"),
            jwks_path: keys,
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

/// Holds a product's row, so that whoever writes it waits.
async fn lock_stock_row(pool: &PgPool, product: domain::ProductId) -> Transaction<'static, Postgres> {
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM stock WHERE product_id = $1 FOR UPDATE")
        .bind(product.0)
        .execute(&mut *holder)
        .await
        .unwrap();
    holder
}

/// Until that many transactions wait for a lock in this test's database.
async fn wait_for_blocked_transactions(pool: &PgPool, transactions: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(pool)
        .await
        .unwrap()
        < transactions
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reserves, and again when the answer is that the database is busy: what is looked at here begins once it has the request.
async fn reserve_until_available(
    shop: &TestApp,
    id: Uuid,
    lines: &[(domain::ProductId, u32)],
) -> (StatusCode, Value) {
    loop {
        let answer = shop.reserve(id, lines).await;
        if answer.0 != StatusCode::SERVICE_UNAVAILABLE {
            return answer;
        }
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_batch_whose_program_is_killed_stands_wholly_or_not_at_all(pool: PgPool) {
    let living = TestApp::start(&pool).await;
    let products = [
        living.create_product_with_stock(100).await,
        living.create_product_with_stock(100).await,
    ];
    let mut doomed = ServiceProcess::start(&living).await;
    let id = new_id();
    let lines = [(products[0], 3), (products[1], 2)];

    let holder = lock_stock_row(&pool, products[1]).await;
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/v1/reservations", doomed.base_url))
        .bearer_auth(living.token())
        .json(&json!({"reservation_id": id, "items": lines_json(&lines)}));
    let asking = tokio::spawn(async move {
        loop {
            match request.try_clone().expect("the body is in memory").send().await {
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {}
                outcome => return outcome,
            }
        }
    });
    wait_for_blocked_transactions(&pool, 1).await;
    doomed.kill();
    assert!(asking.await.unwrap().is_err(), "nobody answered");

    // The retry comes to another instance, while what the dead one has sent still waits for the row.
    let retry = {
        let living = living.clone();
        tokio::spawn(async move { reserve_until_available(&living, id, &lines).await })
    };
    wait_for_blocked_transactions(&pool, 2).await;
    holder.rollback().await.unwrap();
    let (code, reservation) = retry.await.unwrap();
    assert_eq!((code.as_u16(), &reservation["status"]), (201, &json!("reserved")));

    assert_eq!(living.stock_level(products[0]).await, (100, 3));
    assert_eq!(living.stock_level(products[1]).await, (100, 2));
    living.assert_consistent().await;
    assert_eq!(living.events("StockReserved").await.len(), 1);

    // Later, and with another body.
    assert_eq!(living.reserve(id, &lines).await, (code, reservation));
    let (code, problem) = living.reserve(id, &[(products[0], 1)]).await;
    assert_eq!(
        (code.as_u16(), problem_slug(&problem)),
        (422, "reservation-mismatch")
    );
    let another = ServiceProcess::start(&living).await;
    let at_another = |lines: Value| {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("{}/v1/reservations", another.base_url))
            .bearer_auth(living.token())
            .json(&json!({"reservation_id": id, "items": lines}))
    };
    assert_eq!(
        send_and_parse(at_another(lines_json(&lines))).await.0,
        StatusCode::CREATED
    );
    let (code, problem) = send_and_parse(at_another(lines_json(&[(products[1], 2)]))).await;
    assert_eq!(
        (code.as_u16(), problem_slug(&problem)),
        (422, "reservation-mismatch")
    );
    assert_eq!(living.stock_level(products[1]).await, (100, 2));
}

/// Both have read the row before either writes it: the slower one decides again.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_level_that_changed_since_it_was_read_is_read_again(pool: PgPool) {
    let here = TestApp::start(&pool).await;
    let there = here.start_another().await;
    let product = here.create_product_with_stock(10).await;

    let holder = lock_stock_row(&pool, product).await;
    let ask = |shop: &TestApp| {
        let shop = shop.clone();
        tokio::spawn(async move {
            reserve_until_available(&shop, new_id(), &[(product, 6)])
                .await
                .0
                .as_u16()
        })
    };
    let asked = [ask(&here), ask(&there)];
    wait_for_blocked_transactions(&pool, 2).await;
    holder.rollback().await.unwrap();

    let mut codes = Vec::new();
    for answer in asked {
        codes.push(answer.await.unwrap());
    }
    codes.sort_unstable();
    assert_eq!(codes, [201, 409], "six pieces are there once");
    assert_eq!(here.stock_level(product).await, (10, 6));
    here.assert_consistent().await;
}
