//! Time from the completion of an order to the message at its customer's WebSocket client, against a topic
//! with a function that does nothing but post to a connection.

use std::time::Duration;

use anyhow::Context as _;
use connections::ConnectionsTable;
use domain::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    api_client::ApiClient,
    baseline_push::BaselinePush,
    context::Context,
    report::{Section, Target, format_ratio},
    stats::p50_and_p99,
    websocket_client::WebSocketClient,
};

/// The maximum ratio to the baseline.
const MAX_RATIO: f64 = 1.5;

/// Runs that do not count, because they start the functions' processes.
const WARM_UP_RUNS: usize = 5;

/// Time slots of an order and of a message of the baseline. The next one starts when the machine is idle
/// again: after its completion, an order still sends a mail and writes a receipt.
const ORDER_INTERVAL: Duration = Duration::from_millis(1500);
const MESSAGE_INTERVAL: Duration = Duration::from_millis(400);

/// The orders and messages between two heartbeats, which take 19 seconds. The server closes a connection that
/// is silent for two minutes.
const PAIRS_PER_HEARTBEAT: usize = 10;

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let baseline = BaselinePush::deploy(context).await?;
    let api = ApiClient::new(context)?;
    let product = api.create_product(1_000_000).await?;
    let customer = api.create_customer().await?;
    let mut client = WebSocketClient::connect(&api, &customer).await?;
    let idle_customer = api.create_customer().await?;
    let mut baseline_client = WebSocketClient::connect(&api, &idle_customer).await?;
    let dynamodb = aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await);
    let table = ConnectionsTable::new(dynamodb, "ecommerce-connections", context.clock.clone());
    let connections = table.of_user(idle_customer.id).await?;
    let connection = connections
        .first()
        .context("an open connection is not registered")?;

    let pairs = context.full_or_quick(150, 25);
    let (mut ours, mut baselines) = (Vec::new(), Vec::new());
    for pair in 0..WARM_UP_RUNS + pairs {
        let slot = Instant::now() + ORDER_INTERVAL;
        let (order_id, _) = api.place_accepted_order(&customer, &product).await?;
        let is_completion =
            |message: &Value| message["order_id"] == order_id && message["status"] == "completed";
        let update = client.receive_until(is_completion).await?;
        let received_at = context.clock.now();
        let completed_at = completion_time(&update)?;
        sleep_until(slot).await;

        let slot = Instant::now() + MESSAGE_INTERVAL;
        // As large as the update of an order.
        let mut message = update;
        message["pair"] = json!(pair);
        let published_at = baseline
            .publish(context, &connection.connection_id, &message)
            .await?;
        baseline_client
            .receive_until(|received| received["pair"] == pair)
            .await?;
        let baseline_received_at = context.clock.now();
        if pair % PAIRS_PER_HEARTBEAT == 0 {
            for connection in [&mut client, &mut baseline_client] {
                connection.send(&json!({"action": "ping"})).await?;
            }
        }
        sleep_until(slot).await;

        if pair >= WARM_UP_RUNS {
            ours.push(milliseconds_between(completed_at, received_at));
            baselines.push(milliseconds_between(published_at, baseline_received_at));
        }
    }
    client.close().await?;
    baseline_client.close().await?;

    let [ours, baseline] = [ours, baselines].map(|samples| p50_and_p99(samples.into_iter()));
    let (p50_ratio, p99_ratio) = (ours.0 / baseline.0, ours.1 / baseline.1);
    Ok(Section {
        title: "Real-time updates: order completed → message".to_owned(),
        text: format!(
            "From the completion of an order to its message at the customer's WebSocket client, against a \
             topic with a function that only posts each message to a connection of the same API. {pairs} \
             orders and {pairs} messages of the same size, alternating, one at a time, with warm functions, \
             received by one program. An order's time starts with the timestamp of the completion, which \
             `complete-order` takes before it writes the order; the baseline's starts before the \
             publication. Milliseconds.\n\n`complete-order` writes the completion and sends a message to \
             `status-push-queue`; `status-push` reads the customer's connections and the order, and posts. \
             In the local AWS, each invocation of a function waits some 40 ms for its event, which both \
             have once. Only ours has a queue, whose poller sleeps up to 50 ms after it has found the queues \
             empty.",
        ),
        columns: ["", "p50", "p99"].map(str::to_owned).into(),
        rows: vec![
            table_row("order completed → message", ours),
            table_row("topic → function → message", baseline),
            vec![
                "ratio".to_owned(),
                format_ratio(p50_ratio),
                format_ratio(p99_ratio),
            ],
        ],
        targets: vec![
            Target::at_most("order completed → message, p50", MAX_RATIO, p50_ratio),
            Target::at_most("order completed → message, p99", MAX_RATIO, p99_ratio),
        ],
    })
}

fn table_row(name: &str, (p50, p99): (f64, f64)) -> Vec<String> {
    vec![name.to_owned(), format!("{p50:.1}"), format!("{p99:.1}")]
}

/// The time of the last change in the history of a completed order.
fn completion_time(update: &Value) -> anyhow::Result<Timestamp> {
    let changes = update["changes"].as_array().context("an update has no changes")?;
    let completion = changes
        .iter()
        .rfind(|change| change["status"] == "completed")
        .and_then(|change| change["at"].as_str());
    Ok(completion
        .context("a completed order has no completion")?
        .parse()?)
}

fn milliseconds_between(start: Timestamp, end: Timestamp) -> f64 {
    (end - start).as_seconds_f64() * 1e3
}
