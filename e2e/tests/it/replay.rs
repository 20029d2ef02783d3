//! A replay of everything that was ever said changes nothing.

use e2e::system::{System, aws::shell, eventually, send};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

/// What PostgreSQL holds of stock, each table as JSON.
const STOCK: [&str; 4] = [
    "SELECT json_agg(t ORDER BY product_id)::text FROM stock t",
    "SELECT json_agg(t ORDER BY reservation_id)::text FROM reservations t",
    "SELECT json_agg(t ORDER BY reservation_id, product_id)::text FROM reservation_items t",
    "SELECT json_agg(t ORDER BY adjustment_id)::text FROM stock_adjustments t",
];

/// Queues whose consumers act on events.
const QUEUES: [&str; 3] = [
    "order-processing-queue",
    "stock-update-queue",
    "notification-queue",
];

/// Everything that an event can change.
#[derive(Debug, PartialEq)]
struct World {
    orders: Vec<Value>,
    stock: Vec<Option<String>>,
    payments: Vec<Value>,
    refunds: Vec<Value>,
    mails: Vec<Value>,
}

impl World {
    async fn look(system: &System) -> Self {
        let url = format!("{}/_ministack/ses/messages", system.aws_endpoint);
        let mails = send(system.http.get(url)).await.expect(200);
        Self {
            orders: orders().await,
            stock: stock().await,
            payments: system.ledger("/v1/payment_intents").await,
            refunds: system.ledger("/v1/refunds").await,
            mails: mails["messages"]
                .as_object()
                .expect("mails by account")
                .values()
                .cloned()
                .collect(),
        }
    }
}

async fn orders() -> Vec<Value> {
    let scan = "awslocal dynamodb scan --table-name ecommerce-orders --query Items --output json";
    let mut orders: Vec<Value> =
        serde_json::from_str(&shell(&std::env::temp_dir(), scan).await).expect("the table as JSON");
    orders.sort_by_key(|order| order["order_id"]["S"].as_str().map(str::to_owned));
    orders
}

#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
async fn stock() -> Vec<Option<String>> {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `cargo xtask test`");
    let mut database = PgConnection::connect(&url).await.expect("the database is up");
    let mut tables = Vec::new();
    for table in STOCK {
        tables.push(
            sqlx::query_scalar(table)
                .fetch_one(&mut database)
                .await
                .expect("the table is read"),
        );
    }
    tables
}

/// Waits until nothing is on its way any more: no message in a queue or a consumer's hands, no saga under way.
async fn quiet(system: &System) {
    eventually("quiet", async || {
        for queue in QUEUES {
            if !system.messages(queue).await.is_empty() {
                return None;
            }
        }
        let running = "awslocal stepfunctions list-executions --status-filter RUNNING --query 'length(executions)' \
            --state-machine-arn arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga";
        (shell(&std::env::temp_dir(), running).await.trim() == "0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_a_whole_run_changes_nothing() {
    let system = System::alone().await;
    let lantern = system.product(1000, 10).await;
    let mut outcomes = Vec::new();
    for (quantity, card) in [
        (1, "pm_card_visa"),
        (2, "pm_card_chargeDeclined"),
        (99, "pm_card_visa"),
        (1, "pm_error_after_effect"),
    ] {
        let customer = system.customer().await;
        let order_id = system.order(&customer, &lantern, quantity, card).await;
        outcomes.push(system.settled(&customer, order_id).await["status"].clone());
        let address = format!("{}@example.com", customer.id);
        eventually("a mail", async || {
            (!system.mails(&address).await.is_empty()).then_some(())
        })
        .await;
    }
    assert_eq!(outcomes, ["completed", "failed", "failed", "completed"]);

    quiet(&system).await;
    let before = World::look(&system).await;
    let said = shell(&std::env::temp_dir(), r#""$XTASK" replay --from -1d --yes"#).await;
    for kind in ["OrderCreated", "OrderCompleted", "OrderFailed", "ProductCreated"] {
        assert!(said.contains(kind), "the archive holds all of it: {said}");
    }
    quiet(&system).await;
    let after = World::look(&system).await;
    assert!(before == after, "before: {before:#?}\nafter: {after:#?}");
}
