//! The program as it is started: its commands, what it says of its dependencies, and how it stops.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_eventbridge::Client as EventBridge;
use domain::{Clock, ids::uuid_v7};
use insta::assert_json_snapshot;
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
    authentication::{AUDIENCE, ISSUER, TestUser},
    jwks_refresh::TestIssuer,
    support::{RequestBuilderExt, create_order_tables, new_customer, read_order_outbox, read_product_outbox},
};

/// Nothing listens here (the port of the discard protocol).
const UNREACHABLE_ADDRESS: &str = "127.0.0.1:9";

/// core-api, running.
struct CoreApiProcess {
    child: Child,
    base_url: String,
    log_lines: Arc<Mutex<Vec<Value>>>,
    _issuer: TestIssuer,
}

impl CoreApiProcess {
    /// Starts the program and waits until it says where it listens.
    async fn start(environment: &[(&str, &str)]) -> Self {
        let issuer = TestIssuer::start().await;
        let mut child = Command::new(env!("CARGO_BIN_EXE_core-api"))
            .envs([
                ("PORT", "0"),
                ("BIND_ADDRESS", "127.0.0.1"),
                ("SHUTDOWN_DRAIN_SECONDS", "3"),
            ])
            .envs([("AUTH_ISSUER", ISSUER), ("AUTH_AUDIENCE", AUDIENCE)])
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
                .expect("it says where it listens before it ends");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        // A full pipe would stop the program.
        let said: Arc<Mutex<Vec<Value>>> = Arc::default();
        let saying = said.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                saying.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            child,
            base_url: format!("http://{address}"),
            log_lines: said,
            _issuer: issuer,
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().get(format!("{}{path}", self.base_url))
    }

    fn post(&self, path: &str, person: &TestUser) -> RequestBuilder {
        reqwest::Client::new()
            .post(format!("{}{path}", self.base_url))
            .bearer_auth(person.token())
    }

    /// Waits until people can be known.
    async fn await_jwks(&self) {
        while self.get("/ready").fetch().await.body["dependencies"]["jwks"] != "up" {
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

/// Runs a command and gives its exit code and what it says.
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

fn database_url(pool: &PgPool) -> String {
    pool.connect_options().to_url_lossy().to_string()
}

#[sqlx::test(migrations = false)]
async fn the_commands_make_a_database_ready_and_change_nothing_the_second_time(pool: PgPool) {
    let database = database_url(&pool);
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/catalog/products.json"
    );
    for _ in 0..2 {
        assert_eq!(
            run_command(&database, &["migrate"]).await,
            (Some(0), String::new())
        );
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
    assert_eq!(code, Some(1), "that is no catalogue");
}

/// In the order in which a new shop does it: nobody is there who could make an administrator.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_first_administrator_is_made_by_a_command(pool: PgPool) {
    let database = database_url(&pool);
    let arguments = ["account", "--email", "Root@Example.com", "--role", "admin"];
    let (code, id) = run_command(&database, &arguments).await;
    assert_eq!(code, Some(0));
    let users = Users::new(pool, Clock::system());
    let made = users
        .find_by_id(id.trim().parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (made.role, made.email.as_str()),
        (Role::Admin, "root@example.com")
    );

    for wrong in [
        ["account", "--email", "root@example.com", "--role", "service"],
        ["account", "--email", "not an address", "--role", "admin"],
        // Somebody else's.
        ["account", "--email", "root@example.com", "--role", "admin"],
    ] {
        assert_ne!(run_command(&database, &wrong).await.0, Some(0), "{wrong:?}");
    }
}

#[tokio::test]
async fn the_description_is_printed_without_any_configuration() {
    let (code, document) = run_command("", &["openapi"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(
        document.trim_end(),
        core_api::http::openapi_document().to_pretty_json().unwrap()
    );
}

#[tokio::test]
async fn without_its_dependencies_it_lives_and_says_what_is_down() {
    let database = format!("postgres://nobody@{UNREACHABLE_ADDRESS}/nothing");
    let endpoint = format!("http://{UNREACHABLE_ADDRESS}");
    let program =
        CoreApiProcess::start(&[("DATABASE_URL", &database), ("AWS_ENDPOINT_URL", &endpoint)]).await;

    assert_eq!(
        program.get("/health").fetch().await.body,
        json!({"status": "alive"})
    );
    program.await_jwks().await;
    assert_json_snapshot!(program.get("/ready").fetch().await, @r#"
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
    assert_json_snapshot!(program.get("/v1/products").fetch().await, @r#"
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
    let orders = program
        .get("/v1/orders")
        .bearer_auth(new_customer().token())
        .fetch()
        .await;
    assert_eq!(
        (orders.problem(), orders.header("retry-after")),
        ("503 unavailable".to_owned(), "1")
    );
}

/// A Redis that is away costs no request, one line in the log and none for each request, and shows in a metric.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn that_redis_is_away_is_said_once_and_shows(pool: PgPool) {
    let (database, redis) = (database_url(&pool), format!("redis://{UNREACHABLE_ADDRESS}"));
    let program = CoreApiProcess::start(&[("DATABASE_URL", &database), ("REDIS_URL", &redis)]).await;
    let metrics = async || {
        program
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
        assert_eq!(program.get("/v1/products").fetch().await.status, 200);
    }
    let mut refused = 0;
    for _ in 0..150 {
        refused += u32::from(program.get("/v1/me").fetch().await.status == 429);
    }
    assert!(
        (1..=30).contains(&refused),
        "the program counts by itself: {refused}"
    );
    let shown = metrics().await;
    assert!(
        shown.contains(r#"circuit_breaker_open{dependency="redis"} 1"#)
            && shown.contains(r#"rate_limited_requests_total{limit="unauthenticated"}"#),
        "{shown}"
    );
    let said = program.log_lines.lock().unwrap();
    let of_redis: Vec<&Value> = said
        .iter()
        .filter(|line| line.to_string().contains("redis"))
        .collect();
    assert_eq!(of_redis.len(), 1, "{of_redis:?}");
    assert_eq!(of_redis[0]["level"], "WARN", "{of_redis:?}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn told_to_stop_it_turns_away_finishes_and_leaves_no_event_behind(pool: PgPool) {
    let clock = Clock::system();
    let aws = aws_client::sdk_config().await;
    let (dynamo, bus_name) = (DynamoDb::new(&aws), format!("bus-{}", uuid_v7(clock.now())));
    let tables = create_order_tables(&dynamo, &clock).await;
    EventBridge::new(&aws)
        .create_event_bus()
        .name(&bus_name)
        .send()
        .await
        .unwrap();
    let mut program = CoreApiProcess::start(&[
        ("DATABASE_URL", &database_url(&pool)),
        ("ORDERS_TABLE", &tables.orders),
        ("OUTBOX_TABLE", &tables.outbox),
        ("IDEMPOTENCY_TABLE", &tables.idempotency),
        ("EVENT_BUS", &bus_name),
    ])
    .await;
    program.await_jwks().await;
    assert_json_snapshot!(program.get("/ready").fetch().await, @r#"
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
    let bowl = program
        .post("/v1/products", &TestUser::admin().register(&pool).await)
        .json(&bowl)
        .fetch()
        .await;
    program.signal("-TERM").await;
    // Until the load balancer has noticed, requests are served as ever.
    while program.get("/ready").fetch().await.status == 200 {}
    assert_eq!(program.get("/ready").fetch().await.body["status"], "stopping");
    let order = json!({"items": [{"product_id": bowl.body_str("id"), "quantity": 1}], "payment_method": "pm_card_visa"});
    let order = program
        .post("/v1/orders", &new_customer().register(&pool).await)
        .header("Idempotency-Key", "key")
        .json(&order);
    assert_eq!(order.fetch().await.status, 202);

    let ended = timeout(Duration::from_secs(30), program.child.wait())
        .await
        .expect("it stops by itself");
    assert!(ended.unwrap().success());
    assert!(
        read_product_outbox(&pool).await.is_empty(),
        "the product's event has left"
    );
    assert!(
        read_order_outbox(&dynamo, &tables.outbox).await.is_empty(),
        "the order's event has left"
    );
}

/// A customer's app sends its order again and again, to whichever instance answers, and one of these is killed.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn one_key_makes_one_order_across_instances_and_a_crash(pool: PgPool) {
    let (clock, aws) = (Clock::system(), aws_client::sdk_config().await);
    let dynamo = DynamoDb::new(&aws);
    let tables = create_order_tables(&dynamo, &clock).await;
    let database = database_url(&pool);
    let nowhere = format!("http://{UNREACHABLE_ADDRESS}");
    let environment = [
        ("DATABASE_URL", database.as_str()),
        ("ORDERS_TABLE", &tables.orders),
        ("OUTBOX_TABLE", &tables.outbox),
        ("IDEMPOTENCY_TABLE", &tables.idempotency),
        // So that events stay where they can be counted.
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", &nowhere),
    ];
    let (doomed, other) = tokio::join!(
        CoreApiProcess::start(&environment),
        CoreApiProcess::start(&environment)
    );
    tokio::join!(doomed.await_jwks(), other.await_jwks());
    let bowl = json!({"name": "Tea bowl", "description": "", "price": 7_500, "category": "tea-ware"});
    let bowl = other
        .post("/v1/products", &TestUser::admin().register(&pool).await)
        .json(&bowl)
        .fetch()
        .await;
    let body = json!({"items": [{"product_id": bowl.body_str("id"), "quantity": 1}], "payment_method": "pm_card_visa"});
    let person = new_customer().register(&pool).await;
    let order = |program: &CoreApiProcess| {
        let request = program
            .post("/v1/orders", &person)
            .header("Idempotency-Key", "key");
        request.json(&body)
    };

    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..10 {
        sent.spawn(order(&doomed).send());
        sent.spawn(order(&other).send());
    }
    let first = sent.join_next().await.unwrap().unwrap();
    doomed.signal("-KILL").await;
    let mut answers = vec![first];
    answers.extend(sent.join_all().await);
    let last = order(&other).fetch().await;
    assert_eq!(last.status, 202, "what was sent before has been decided");

    // What the killed instance did not answer is as it is; all that was answered is the same order.
    let (mut accepted, mut unanswered) = (0, 0);
    for answer in answers {
        match answer {
            Ok(answer) if answer.status() == 202 => match answer.json::<Value>().await {
                Ok(answer) => {
                    accepted += 1;
                    assert_eq!(answer["order_id"], last.body["order_id"]);
                }
                Err(_) => unanswered += 1,
            },
            Ok(answer) => assert_eq!(answer.status(), 409),
            Err(_) => unanswered += 1,
        }
    }
    let listed = other.get("/v1/orders").bearer_auth(person.token()).fetch().await;
    assert_eq!(
        listed.body["items"].as_array().unwrap().len(),
        1,
        "{accepted} accepted, {unanswered} unanswered"
    );
    assert_eq!(read_order_outbox(&dynamo, &tables.outbox).await.len(), 1);
}
