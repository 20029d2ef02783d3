//! A replay of all archived events changes nothing.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use e2e::{
    consistency::StabilityTracker,
    system::{TestSystem, aws::run_shell, eventually, send},
};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

/// How long the system may take to become quiescent.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Longer than the bus takes to deliver an event.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Queries that read each stock table of PostgreSQL as JSON.
const STOCK_QUERIES: [&str; 4] = [
    "SELECT json_agg(t ORDER BY product_id)::text FROM inventory.stock t",
    "SELECT json_agg(t ORDER BY reservation_id)::text FROM inventory.reservations t",
    "SELECT json_agg(t ORDER BY reservation_id, product_id)::text FROM inventory.reservation_items t",
    "SELECT json_agg(t ORDER BY adjustment_id)::text FROM inventory.stock_adjustments t",
];

/// The queues whose consumers act on events.
const WORK_QUEUES: [&str; 6] = [
    "order-processing-queue",
    "stock-update-queue",
    "notification-queue",
    "sms-queue",
    "receipt-queue",
    "status-push-queue",
];

/// The state that events can change.
#[derive(Debug, PartialEq)]
struct PersistedState {
    orders: Vec<Value>,
    stock: Vec<Option<String>>,
    payments: Vec<Value>,
    refunds: Vec<Value>,
    mails: Vec<Value>,
    sms: Value,
}

impl PersistedState {
    async fn capture(system: &TestSystem) -> Self {
        let sent = async |path: &str| {
            let url = format!("{}/_ministack/{path}", system.aws_endpoint_url);
            send(system.http.get(url)).await.expect_status(200)
        };
        let mails = sent("ses/messages").await;
        Self {
            orders: scan_orders().await,
            stock: read_stock_tables().await,
            payments: system.list_provider_objects("/v1/payment_intents").await,
            refunds: system.list_provider_objects("/v1/refunds").await,
            mails: mails["messages"]
                .as_object()
                .expect("the mails are grouped by account")
                .values()
                .cloned()
                .collect(),
            sms: sent("sns/sms-messages").await,
        }
    }
}

async fn scan_orders() -> Vec<Value> {
    let scan = "awslocal dynamodb scan --table-name ecommerce-orders --query Items --output json";
    let mut orders: Vec<Value> =
        serde_json::from_str(&run_shell(&std::env::temp_dir(), scan).await).expect("the scan prints JSON");
    orders.sort_by_key(|order| order["order_id"]["S"].as_str().map(str::to_owned));
    orders
}

#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
async fn read_stock_tables() -> Vec<Option<String>> {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `cargo xtask test`");
    let mut database = PgConnection::connect(&url)
        .await
        .expect("the database must be reachable");
    let mut tables = Vec::new();
    for table in STOCK_QUERIES {
        tables.push(
            sqlx::query_scalar(table)
                .fetch_one(&mut database)
                .await
                .expect("the stock tables must be readable"),
        );
    }
    tables
}

/// Whether no work queue has a message and no saga execution runs.
async fn is_idle(system: &TestSystem) -> bool {
    for queue in WORK_QUEUES {
        if !system.queue_messages(queue).await.is_empty() {
            return false;
        }
    }
    let running = "awslocal stepfunctions list-executions --status-filter RUNNING \
        --query 'length(executions)' \
        --state-machine-arn arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga";
    run_shell(&std::env::temp_dir(), running).await.trim() == "0"
}

/// Captures the state once the system is quiescent. The capture reads the stores one after another, so the
/// returned one began after two equal captures of an idle system.
async fn capture_when_quiescent(system: &TestSystem) -> PersistedState {
    let deadline = Instant::now() + TIMEOUT;
    let mut tracker = StabilityTracker::default();
    loop {
        let was_idle = is_idle(system).await;
        let state = PersistedState::capture(system).await;
        let mut hasher = DefaultHasher::new();
        format!("{state:?}").hash(&mut hasher);
        if tracker.observe(was_idle && is_idle(system).await, hasher.finish()) {
            return state;
        }
        assert!(
            Instant::now() < deadline,
            "the system is not quiescent after {} s",
            TIMEOUT.as_secs()
        );
        sleep(POLL_INTERVAL).await;
    }
}

#[tokio::test]
async fn replay_of_a_whole_run_changes_nothing() {
    let system = TestSystem::exclusive().await;
    let lantern = system.create_product(1000, 10).await;
    let mut outcomes = Vec::new();
    for (quantity, card) in [
        (1, "pm_card_visa"),
        (2, "pm_card_chargeDeclined"),
        (99, "pm_card_visa"),
        (1, "pm_error_after_effect"),
    ] {
        let customer = system.customer().await;
        let order_id = system.place_order(&customer, &lantern, quantity, card).await;
        outcomes.push(system.wait_for_final_status(&customer, order_id).await["status"].clone());
        let address = format!("{}@example.com", customer.id);
        eventually("the mail", async || {
            (!system.sent_mails(&address).await.is_empty()).then_some(())
        })
        .await;
    }
    assert_eq!(outcomes, ["completed", "failed", "failed", "completed"]);

    let before = capture_when_quiescent(&system).await;
    let output = run_shell(&std::env::temp_dir(), r#""$XTASK" replay --from -1d --yes"#).await;
    for detail_type in ["OrderCreated", "OrderCompleted", "OrderFailed", "ProductCreated"] {
        assert!(
            output.contains(detail_type),
            "the archive must contain {detail_type}: {output}"
        );
    }
    let after = capture_when_quiescent(&system).await;
    assert!(before == after, "before: {before:#?}\nafter: {after:#?}");
}
