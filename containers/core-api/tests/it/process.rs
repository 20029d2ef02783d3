//! The core-api binary: its commands, readiness and logs, and graceful shutdown.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_eventbridge::Client as EventBridge;
use database::testing;
use domain::{Clock, ids::uuid_v7};
use futures::future::join_all;
use insta::assert_json_snapshot;
use orders::testing::OrderTables;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool};
use tokens::Role;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};
use users::Users;

use crate::{
    support::{RequestBuilderExt, TestResponse, read_order_outbox, read_product_outbox},
    test_issuer::TestIssuer,
    test_user::{AUDIENCE, ISSUER, TestUser},
};

/// Nothing listens on the port of the discard protocol.
const UNREACHABLE_ADDRESS: &str = "127.0.0.1:9";

/// A running core-api process.
struct CoreApiProcess {
    child: Child,
    base_url: String,
    log_lines: Arc<Mutex<Vec<Value>>>,
    _issuer: TestIssuer,
}

impl CoreApiProcess {
    /// Starts core-api and waits until it logs the address on which it listens.
    async fn start(environment: &[(&str, &str)]) -> Self {
        let issuer = TestIssuer::start().await;
        let mut child = Command::new(env!("CARGO_BIN_EXE_core-api"))
            .envs([
                ("PORT", "0"),
                ("BIND_ADDRESS", "127.0.0.1"),
                ("SHUTDOWN_DRAIN_SECONDS", "3"),
            ])
            .envs([("AUTH_ISSUER", ISSUER), ("AUTH_AUDIENCE", AUDIENCE)])
            .env("WS_API_URL", "ws://127.0.0.1:1/live")
            .env("AUTH_JWKS_URL", &issuer.jwks_url)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("core-api logs its address before it exits");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        // A full pipe would block the process, so its output is always read.
        let log_lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let lines_read = log_lines.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                lines_read
                    .lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            child,
            base_url: format!("http://{address}"),
            log_lines,
            _issuer: issuer,
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().get(format!("{}{path}", self.base_url))
    }

    fn post(&self, path: &str, user: &TestUser) -> RequestBuilder {
        reqwest::Client::new()
            .post(format!("{}{path}", self.base_url))
            .bearer_auth(user.token())
    }

    /// Waits until core-api has read the issuer's JWKS.
    async fn await_jwks(&self) {
        while self.get("/ready").fetch().await.body["dependencies"]["jwks"] != "up" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until core-api reaches all its dependencies, and returns the response that says so.
    async fn await_ready(&self) -> TestResponse {
        loop {
            let response = self.get("/ready").fetch().await;
            if response.status == 200 {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .await
                .unwrap()
                .success()
        );
    }
}

/// Runs a command and returns its exit code and standard output.
async fn run_command(database: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_core-api"));
    let output = command
        .env("DATABASE_URL", database)
        .args(arguments)
        .output()
        .await
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// The URL of the database's owner, who migrates and creates accounts.
fn owner_url(pool: &PgPool) -> String {
    testing::database_url(&pool.connect_options())
}

fn database_url(pool: &PgPool) -> String {
    testing::database_url(&testing::connect_options(pool, database::Role::CoreApi))
}

#[sqlx::test(migrations = false)]
async fn migrate_and_seed_are_idempotent(pool: PgPool) {
    let (owner, database) = (owner_url(&pool), database_url(&pool));
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/catalog/products.json"
    );
    for _ in 0..2 {
        assert_eq!(run_command(&owner, &["migrate"]).await, (Some(0), String::new()));
    }
    let (code, first) = run_command(&database, &["seed", file]).await;
    assert_eq!(code, Some(0));
    let products = first.split(' ').next().unwrap();
    assert_eq!(
        first,
        format!("{products} products: {products} created, 0 updated, 0 unchanged\n")
    );
    let second = run_command(&database, &["seed", file]).await;
    assert_eq!(
        second,
        (
            Some(0),
            format!("{products} products: 0 created, 0 updated, {products} unchanged\n")
        )
    );
    assert_eq!(read_product_outbox(&pool).await.len().to_string(), products);

    let (code, _) = run_command(
        &database,
        &["seed", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
    )
    .await;
    assert_eq!(code, Some(1), "Cargo.toml is not a catalog");
}

/// Roles belong to the server, so the test sets the password that other tests use.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn migrate_sets_the_passwords_of_roles(pool: PgPool) {
    let verifier = async || -> String {
        sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = 'auth'")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    let owner = owner_url(&pool);
    let before = verifier().await;
    let arguments = ["migrate", "--auth-password", "auth"];
    assert_eq!(run_command(&owner, &arguments).await, (Some(0), String::new()));
    assert_ne!(verifier().await, before, "the new verifier has another salt");
    testing::connect_options(&pool, database::Role::Auth)
        .connect()
        .await
        .expect("the function logs in with the password");

    let invalid = ["migrate", "--auth-password", "p\u{e4}ssword"];
    assert_eq!(run_command(&owner, &invalid).await.0, Some(1));
}

/// A new deployment has no administrator who could assign the role.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn account_command_creates_the_first_admin(pool: PgPool) {
    let database = owner_url(&pool);
    let arguments = ["account", "--email", "Root@Example.com", "--role", "admin"];
    let (code, id) = run_command(&database, &arguments).await;
    assert_eq!(code, Some(0));
    let users = Users::new(pool, Clock::system());
    let account = users
        .find_by_id(id.trim().parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (account.role, account.email.as_str()),
        (Role::Admin, "root@example.com")
    );

    for invalid in [
        ["account", "--email", "root@example.com", "--role", "service"],
        ["account", "--email", "not an address", "--role", "admin"],
        // The e-mail address of an existing account.
        ["account", "--email", "root@example.com", "--role", "admin"],
    ] {
        assert_ne!(run_command(&database, &invalid).await.0, Some(0), "{invalid:?}");
    }
}

#[tokio::test]
async fn starts_without_dependencies_and_reports_them_as_down() {
    let database = format!("postgres://unknown@{UNREACHABLE_ADDRESS}/nothing");
    let endpoint = format!("http://{UNREACHABLE_ADDRESS}");
    let core_api =
        CoreApiProcess::start(&[("DATABASE_URL", &database), ("AWS_ENDPOINT_URL", &endpoint)]).await;

    assert_eq!(
        core_api.get("/health").fetch().await.body,
        json!({"status": "alive"})
    );
    core_api.await_jwks().await;
    assert_json_snapshot!(core_api.get("/ready").fetch().await, @r#"
    {
      "status": 503,
      "headers": {
        "content-type": "application/json"
      },
      "body": {
        "dependencies": {
          "database": "down",
          "event-bus": "down",
          "jwks": "up",
          "orders-table": "down"
        },
        "status": "unready"
      }
    }
    "#);
    assert_json_snapshot!(core_api.get("/v1/products").fetch().await, @r#"
    {
      "status": 503,
      "headers": {
        "content-type": "application/problem+json",
        "retry-after": "1"
      },
      "body": {
        "detail": "Try again shortly.",
        "status": 503,
        "title": "Service unavailable",
        "type": "https://matsuri.dev/problems/unavailable"
      }
    }
    "#);
    let orders = core_api
        .get("/v1/orders")
        .bearer_auth(TestUser::customer().token())
        .fetch()
        .await;
    assert_eq!(
        (orders.problem(), orders.header("retry-after")),
        ("503 unavailable".to_owned(), "1")
    );
}

/// Without Redis, requests succeed, the log has one line in total instead of one per request, and a metric
/// shows it.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn unreachable_redis_is_logged_once_and_visible_in_metrics(pool: PgPool) {
    let (database, redis) = (database_url(&pool), format!("redis://{UNREACHABLE_ADDRESS}"));
    let core_api = CoreApiProcess::start(&[("DATABASE_URL", &database), ("REDIS_URL", &redis)]).await;
    let metrics = async || {
        core_api
            .get("/metrics")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    assert!(
        metrics()
            .await
            .contains(r#"circuit_breaker_open{dependency="redis"} 0"#)
    );
    for _ in 0..50 {
        assert_eq!(core_api.get("/v1/products").fetch().await.status, 200);
    }
    // Concurrent requests, because the limit is restored by two requests per second.
    let responses = join_all((0..150).map(|_| core_api.get("/v1/me").fetch())).await;
    let rejected = responses.iter().filter(|response| response.status == 429).count();
    assert!(
        (1..=30).contains(&rejected),
        "the instance counts locally: {rejected}"
    );
    let page = metrics().await;
    assert!(
        page.contains(r#"circuit_breaker_open{dependency="redis"} 1"#)
            && page.contains(r#"rate_limited_requests_total{limit="unauthenticated"}"#),
        "{page}"
    );
    let log_lines = core_api.log_lines.lock().unwrap();
    let redis_lines: Vec<&Value> = log_lines
        .iter()
        .filter(|line| line.to_string().contains("redis"))
        .collect();
    assert_eq!(redis_lines.len(), 1, "{redis_lines:?}");
    assert_eq!(redis_lines[0]["level"], "WARN", "{redis_lines:?}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn sigterm_drains_requests_and_publishes_all_events(pool: PgPool) {
    let clock = Clock::system();
    let aws = aws_client::sdk_config().await;
    let (dynamo, bus_name) = (DynamoDb::new(&aws), format!("bus-{}", uuid_v7(clock.now())));
    let tables = OrderTables::create(&aws).await;
    EventBridge::new(&aws)
        .create_event_bus()
        .name(&bus_name)
        .send()
        .await
        .unwrap();
    let mut core_api = CoreApiProcess::start(&[
        ("DATABASE_URL", &database_url(&pool)),
        ("ORDERS_TABLE", &tables.orders),
        ("OUTBOX_TABLE", &tables.outbox),
        ("IDEMPOTENCY_TABLE", &tables.idempotency),
        ("EVENT_BUS", &bus_name),
    ])
    .await;
    assert_json_snapshot!(core_api.await_ready().await, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json"
      },
      "body": {
        "dependencies": {
          "database": "up",
          "event-bus": "up",
          "jwks": "up",
          "orders-table": "up"
        },
        "status": "ready"
      }
    }
    "#);

    let bowl = json!({"name": "Tea bowl", "description": "", "price": 7_500, "category": "tea-ware"});
    let bowl = core_api
        .post("/v1/products", &TestUser::admin().register(&pool).await)
        .json(&bowl)
        .fetch()
        .await;
    core_api.signal("-TERM").await;
    // During the drain period, requests are still served.
    while core_api.get("/ready").fetch().await.status == 200 {}
    assert_eq!(core_api.get("/ready").fetch().await.body["status"], "stopping");
    let order = json!({
        "items": [{"product_id": bowl.body_str("id"), "quantity": 1}],
        "payment_method": "pm_card_visa",
    });
    let order = core_api
        .post("/v1/orders", &TestUser::customer().register(&pool).await)
        .header("Idempotency-Key", "key")
        .json(&order);
    assert_eq!(order.fetch().await.status, 202);

    let exit_status = timeout(Duration::from_secs(30), core_api.child.wait())
        .await
        .expect("core-api exits within the shutdown timeout");
    assert!(exit_status.unwrap().success());
    assert!(
        read_product_outbox(&pool).await.is_empty(),
        "the product's event was published"
    );
    assert!(
        read_order_outbox(&dynamo, &tables.outbox).await.is_empty(),
        "the order's event was published"
    );
}

/// A client repeats its order against two instances, one of which is killed.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn one_key_places_one_order_across_instances_and_a_crash(pool: PgPool) {
    let aws = aws_client::sdk_config().await;
    let dynamo = DynamoDb::new(&aws);
    let tables = OrderTables::create(&aws).await;
    let database = database_url(&pool);
    let nowhere = format!("http://{UNREACHABLE_ADDRESS}");
    let environment = [
        ("DATABASE_URL", database.as_str()),
        ("ORDERS_TABLE", &tables.orders),
        ("OUTBOX_TABLE", &tables.outbox),
        ("IDEMPOTENCY_TABLE", &tables.idempotency),
        // Publishing fails, so events stay in the outbox, where the test counts them.
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", &nowhere),
    ];
    let (killed, other) = tokio::join!(
        CoreApiProcess::start(&environment),
        CoreApiProcess::start(&environment)
    );
    tokio::join!(killed.await_jwks(), other.await_jwks());
    let bowl = json!({"name": "Tea bowl", "description": "", "price": 7_500, "category": "tea-ware"});
    let bowl = other
        .post("/v1/products", &TestUser::admin().register(&pool).await)
        .json(&bowl)
        .fetch()
        .await;
    let body = json!({
        "items": [{"product_id": bowl.body_str("id"), "quantity": 1}],
        "payment_method": "pm_card_visa",
    });
    let user = TestUser::customer().register(&pool).await;
    let order = |core_api: &CoreApiProcess| {
        let request = core_api
            .post("/v1/orders", &user)
            .header("Idempotency-Key", "key");
        request.json(&body)
    };

    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..10 {
        sent.spawn(order(&killed).send());
        sent.spawn(order(&other).send());
    }
    let first = sent.join_next().await.unwrap().unwrap();
    killed.signal("-KILL").await;
    let mut responses = vec![first];
    responses.extend(sent.join_all().await);
    let last = order(&other).fetch().await;
    assert_eq!(last.status, 202, "all requests sent before are decided");

    // All responses name the same order. Requests to the killed instance may have got no response.
    let (mut accepted, mut without_response) = (0, 0);
    for response in responses {
        match response {
            Ok(response) if response.status() == 202 => match response.json::<Value>().await {
                Ok(response) => {
                    accepted += 1;
                    assert_eq!(response["order_id"], last.body["order_id"]);
                }
                Err(_) => without_response += 1,
            },
            Ok(response) => assert_eq!(response.status(), 409),
            Err(_) => without_response += 1,
        }
    }
    let listed = other.get("/v1/orders").bearer_auth(user.token()).fetch().await;
    assert_eq!(
        listed.body["items"].as_array().unwrap().len(),
        1,
        "{accepted} accepted, {without_response} without a response"
    );
    assert_eq!(read_order_outbox(&dynamo, &tables.outbox).await.len(), 1);
}
