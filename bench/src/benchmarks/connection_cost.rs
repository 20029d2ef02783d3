//! What a WebSocket connection takes: the AWS cost of opening it, of holding it and of each message, its size
//! in DynamoDB, and the memory of the local gateway.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use strum::VariantArray as _;
use tokio::time::{Instant, sleep};

use crate::{
    api_client::ApiClient,
    aws_prices::{Bill, LineItem, cost_per_thousand, format_amount, format_dollars, total_cost},
    cloudtrail::{self, RecordedRequest, call_aws},
    context::Context,
    dynamodb_units::{UnitCalculator, stored_sizes},
    function_usage::FunctionUsage,
    process,
    report::{Section, Target},
    websocket_client::WebSocketClient,
};

const CONNECTIONS_TABLE: &str = "ecommerce-connections";
const ORDERS_TABLE: &str = "ecommerce-orders";

/// The functions of the WebSocket API.
const FUNCTIONS: [&str; 3] = ["status-push", "websocket-authorizer", "websocket-connection"];

/// The most that a user can have.
const CONNECTIONS_PER_CUSTOMER: usize = 10;

/// A client sends a message every 30 seconds.
const HEARTBEATS_PER_HOUR: f64 = 120.0;

/// Bytes that DynamoDB adds to each item and to each entry of an index.
const DYNAMODB_OVERHEAD: usize = 100;

/// Time until CloudTrail has recorded the last request and Lambda has reported its invocation.
const RECORDING_DELAY: Duration = Duration::from_secs(3);

/// How long the function may take that removes a closed connection.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The work that one bill pays.
struct Usage {
    name: &'static str,
    bill: Bill,
}

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let api = ApiClient::new(context)?;
    let customers = context.full_or_quick(20, 2);
    let connections = customers * CONNECTIONS_PER_CUSTOMER;
    // Warm up: start the functions' processes.
    let customer = api.create_customer().await?;
    close(context, vec![WebSocketClient::connect(&api, &customer).await?]).await?;

    let gateway = process::find_local_aws(context)?;
    let memory_before = process::resident_memory(gateway)?.current;
    let mut clients = Vec::new();
    let opening = measure(context, connections, async || {
        for _ in 0..customers {
            let customer = api.create_customer().await?;
            for _ in 0..CONNECTIONS_PER_CUSTOMER {
                clients.push(WebSocketClient::connect(&api, &customer).await?);
            }
        }
        Ok(())
    })
    .await?;
    let memory = process::resident_memory(gateway)?.current - memory_before;
    // One for each connection, because a connection's messages in one window cost more.
    let heartbeat = measure(context, connections, async || {
        for client in &mut clients {
            client.send(&json!({"action": "ping"})).await?;
            client.receive_until(|message| message["type"] == "PONG").await?;
        }
        Ok(())
    })
    .await?;
    let items = scan_connections(context).await?;
    let item = items.last().context("no connection is registered")?;
    let (item, copies) = stored_sizes(context, CONNECTIONS_TABLE, item).await?;
    let closing = measure(context, connections, async || close(context, clients).await).await?;

    let mut opened = opening;
    for (line, amount) in closing {
        *opened.entry(line).or_default() += amount;
    }
    opened.insert(LineItem::HttpApiRequests, 1.0);
    let mut holding: Bill = heartbeat
        .into_iter()
        .map(|(line, amount)| (line, amount * HEARTBEATS_PER_HOUR))
        .collect();
    holding.insert(LineItem::WebSocketMessages, 2.0 * HEARTBEATS_PER_HOUR);
    holding.insert(LineItem::ConnectionMinutes, 60.0);

    let pushes = context.full_or_quick(50, 10);
    let mut push = measure_pushes(context, &api, pushes).await?;
    push.extend([
        (LineItem::Events, 1.0),
        (LineItem::Publications, 1.0),
        (LineItem::QueueRequests, 3.0),
        (LineItem::WebSocketMessages, 1.0),
    ]);

    let usages = [
        Usage {
            name: "connection opened",
            bill: opened,
        },
        Usage {
            name: "connected hour",
            bill: holding,
        },
        Usage {
            name: "message",
            bill: push,
        },
    ];
    let stored = item + copies + 3 * DYNAMODB_OVERHEAD;
    let per_mebibyte = 1024 * 1024 / stored;
    let gateway_kibibytes = memory * 1024.0 / connections as f64;
    Ok(Section {
        title: "Cost of WebSocket connections".to_owned(),
        text: format!(
            "No process of ours holds anything for an open connection. It is an item of {item} bytes in \
             DynamoDB with {copies} bytes in two indexes, to which DynamoDB adds {DYNAMODB_OVERHEAD} bytes \
             each: {per_mebibyte} connections per MiB. For information: the local gateway took \
             {gateway_kibibytes:.0} KiB of memory for each of {connections} connections.\n\n*Connection \
             opened*: ticket, handshake and end, measured with {connections} connections. *Connected hour*: \
             60 connection minutes and {HEARTBEATS_PER_HOUR} heartbeats (`ping` and its response, every 30 \
             seconds), measured with {connections} heartbeats. *Message*: the push of an order's completion \
             to a customer with one connection, from the event to the message, measured with {pushes} \
             pushes, each in a batch of its own. Requests, units and durations are counted as in the cost of \
             an order. *Derived* are the events, the publications, the requests of the queue and the \
             platform's own log lines. Not included: traces, of which Lambda samples one per second and 5 % \
             of the others, and the access logs of the gateway.",
        ),
        columns: columns(&usages),
        rows: rows(&usages),
        targets: vec![Target {
            what: "1,000 connected hours, and 1,000 messages".to_owned(),
            goal: "no goal".to_owned(),
            reached: format!(
                "{} and {}",
                format_dollars(total_cost(&usages[1].bill)),
                format_dollars(total_cost(&usages[2].bill))
            ),
            met: true,
        }],
    })
}

fn columns(usages: &[Usage]) -> Vec<String> {
    let amounts = usages.iter().map(|usage| format!("per {}", usage.name));
    let costs = usages.iter().map(|usage| format!("$ per 1,000, {}", usage.name));
    let price = ["$ per million".to_owned()];
    [String::new()]
        .into_iter()
        .chain(amounts)
        .chain(price)
        .chain(costs)
        .collect()
}

fn rows(usages: &[Usage]) -> Vec<Vec<String>> {
    let is_used = |line: &LineItem| usages.iter().any(|usage| usage.bill.contains_key(line));
    let mut rows: Vec<Vec<String>> = LineItem::VARIANTS
        .iter()
        .copied()
        .filter(is_used)
        .map(|line| {
            let (name, price) = line.name_and_price();
            let mut row = vec![name.to_owned()];
            row.extend(usages.iter().map(|usage| format_amount(line, &usage.bill)));
            row.push(format!("{price}"));
            row.extend(
                usages
                    .iter()
                    .map(|usage| format_dollars(cost_per_thousand(line, &usage.bill))),
            );
            row
        })
        .collect();
    let mut total = vec!["**total**".to_owned()];
    total.extend(std::iter::repeat_n(String::new(), usages.len() + 1));
    total.extend(usages.iter().map(|usage| format_dollars(total_cost(&usage.bill))));
    rows.push(total);
    rows
}

/// Pushes a completed order to one connection, again and again.
async fn measure_pushes(context: &Context, api: &ApiClient, pushes: usize) -> anyhow::Result<Bill> {
    let product = api.create_product(10).await?;
    let customer = api.create_customer().await?;
    let mut client = WebSocketClient::connect(api, &customer).await?;
    let (order_id, _) = api.place_accepted_order(&customer, &product).await?;
    client
        .receive_until(|message| message["is_final"] == true)
        .await?;
    // The completion is pushed twice.
    client
        .receive_until(|message| message["is_final"] == true)
        .await?;
    let request = json!({
        "order_id": order_id, "user_id": customer.id,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    });
    let message = json!({
        "QueueUrl": format!("{}/000000000000/status-push-queue", context.addresses.aws),
        "MessageBody": request.to_string(),
    });
    let bill = measure(context, pushes, async || {
        for _ in 0..pushes {
            call_aws(context, "sqs", "AmazonSQS.SendMessage", &message).await?;
            client.receive().await?;
        }
        Ok(())
    })
    .await?;
    client.close().await?;
    Ok(bill)
}

/// Counts the usage of the WebSocket API's functions and tables during `work`, and divides it by
/// `repetitions`.
async fn measure(
    context: &Context,
    repetitions: usize,
    work: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Bill> {
    // The end of earlier work is not part of this one.
    sleep(RECORDING_DELAY).await;
    cloudtrail::set_recording(context, true).await?;
    let from = context.clock.now();
    let done = work().await;
    sleep(RECORDING_DELAY).await;
    let to = context.clock.now();
    cloudtrail::set_recording(context, false).await?;
    done?;

    let mut requests = cloudtrail::lookup_requests(context, from, to).await?;
    requests.reverse();
    let is_counted = |request: &&RecordedRequest| {
        let table = &request.parameters["TableName"];
        request.service == "dynamodb"
            && (table == CONNECTIONS_TABLE || table == ORDERS_TABLE && request.operation == "GetItem")
    };
    let counted: Vec<_> = requests.iter().filter(is_counted).collect();
    let units = UnitCalculator::default()
        .consumed_units(context, &counted)
        .await?;
    let usage = FunctionUsage::read(context, &FUNCTIONS, from).await?;
    let share = 1.0 / repetitions as f64;
    Ok(Bill::from([
        (LineItem::WriteUnits, units.writes as f64 * share),
        (LineItem::ReadUnits, units.reads * share),
        (LineItem::Invocations, usage.invocations * share),
        (LineItem::GbSeconds, usage.gigabyte_seconds() * share),
        (LineItem::LogKilobytes, usage.logged_kilobytes() * share),
    ]))
}

/// Closes connections one after another. Each end invokes a function, and the local AWS drops the invocations
/// beyond the function's concurrency.
async fn close(context: &Context, clients: Vec<WebSocketClient>) -> anyhow::Result<()> {
    let mut registered = scan_connections(context).await?.len();
    for client in clients {
        client.close().await?;
        registered -= 1;
        let deadline = Instant::now() + REMOVAL_TIMEOUT;
        while scan_connections(context).await?.len() > registered {
            ensure!(
                Instant::now() < deadline,
                "a closed connection was not removed in time"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Returns the items of all connections. Scans are not counted.
async fn scan_connections(context: &Context) -> anyhow::Result<Vec<Value>> {
    let input = json!({"TableName": CONNECTIONS_TABLE, "FilterExpression": "attribute_exists(user_id)"});
    let mut scanned = call_aws(context, "dynamodb", "DynamoDB_20120810.Scan", &input).await?;
    let items = scanned["Items"]
        .as_array_mut()
        .context("a scan returned no items")?;
    Ok(std::mem::take(items))
}
