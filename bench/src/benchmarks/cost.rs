//! What an order costs in AWS: its requests counted on a run, times the public price list.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use aws_sdk_sfn::types::HistoryEventType;
use domain::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    api_client::{ApiClient, Customer},
    cloudtrail::{self, RecordedRequest, call_aws},
    context::Context,
    dynamodb_units::UnitCalculator,
    express_state_machine::ExpressStateMachine,
    report::{Section, Target},
};

/// The functions that a completed order passes.
const ORDER_FUNCTIONS: [&str; 7] = [
    "order-processor",
    "reserve-stock",
    "process-payment",
    "update-stock",
    "complete-order",
    "send-notification",
    "notification-sender",
];

/// The functions' memory in GB, as the template has it.
const FUNCTION_GB: f64 = 0.25;

/// Express bills memory in steps of 64 MB, and a saga's state needs one.
const EXPRESS_GB: f64 = 0.0625;

/// What the platform itself logs of an invocation in JSON, start to report, in bytes: derived from AWS's examples.
const PLATFORM_LOG_BYTES: f64 = 1_100.0;

/// What an event of an Express execution takes in its log, without data, in bytes: derived likewise.
const EXPRESS_LOG_EVENT_BYTES: f64 = 450.0;

/// How long the last mail of a run may take.
const MAIL_TIMEOUT: Duration = Duration::from_secs(180);

/// What is done after the mail, on a busy machine.
const RECORDING_DELAY: Duration = Duration::from_secs(3);

/// US dollars for a million, on demand in ap-northeast-1, without free tiers or discounts for volume, from each
/// service's public pricing page (aws.amazon.com/<service>/pricing). The price of transitions was compared with a copy
/// of its page in November 2026; the other pages build their tables by script and were out of reach.
mod price {
    /// State transitions of Standard workflows.
    pub const TRANSITION: f64 = 25.0;
    /// Executions of Express workflows.
    pub const EXPRESS_REQUEST: f64 = 1.0;
    /// GB-seconds of Express workflows, first tier.
    pub const EXPRESS_GB_SECOND: f64 = 16.67;
    /// Invocations of functions.
    pub const INVOCATION: f64 = 0.20;
    /// GB-seconds of functions, Arm, first tier.
    pub const FUNCTION_GB_SECOND: f64 = 13.3334;
    /// DynamoDB's write request units.
    pub const WRITE_UNIT: f64 = 0.715;
    /// DynamoDB's read request units.
    pub const READ_UNIT: f64 = 0.1425;
    /// Events on a custom bus.
    pub const EVENT: f64 = 1.0;
    /// Requests of SQS standard queues.
    pub const QUEUE_REQUEST: f64 = 0.40;
    /// Publications to a topic; its deliveries to SQS are free.
    pub const PUBLICATION: f64 = 0.50;
    /// Mails by SES.
    pub const MAIL: f64 = 100.0;
    /// Kilobytes of logs ($0.76 for a GB).
    pub const LOG_KB: f64 = 0.76;
    /// Traces recorded by X-Ray.
    pub const TRACE: f64 = 5.0;
}

/// What one order took: line → how much. Every line has a price.
type Bill = BTreeMap<LineItem, f64>;

/// A line of the bill, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LineItem {
    Transitions,
    ExpressRequests,
    ExpressGbSeconds,
    Mails,
    WriteUnits,
    ReadUnits,
    Events,
    Invocations,
    GbSeconds,
    QueueRequests,
    Publications,
    LogKilobytes,
    Traces,
}

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let shop = ApiClient::new(context)?;
    let product = shop.create_product(1_000_000).await?;
    let orders = context.full_or_quick(40, 10);

    let standard = measure_bill(context, &shop, &product, "order-saga", orders).await?;
    let express = ExpressStateMachine::deploy(context).await?;
    let measured_express = measure_bill(context, &shop, &product, ExpressStateMachine::NAME, orders).await;
    // Also when it was not measured: other figures come after this one.
    express.remove(context).await?;
    let express = measured_express?;

    let totals = [&standard, &express].map(|(bill, _)| total_cost(bill));
    let mut rows: Vec<Vec<String>> = LineItem::ALL
        .into_iter()
        .map(|line| table_row(line, &standard.0, &express.0))
        .collect();
    rows.push(
        [
            "**all**".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            format_dollars(totals[0]),
            format_dollars(totals[1]),
        ]
        .into(),
    );
    Ok(Section {
        title: "Cost of an order".to_owned(),
        text: format!(
            "{orders} orders that were completed, by a Standard and by an Express state machine, one order after another: \
             batches of one, the dearest case. Counted by the CloudTrail of the local AWS (data plane included), the \
             executions' histories and the functions' reports, which contain what the emulator itself takes; DynamoDB's \
             units follow from the recorded items' sizes. *Derived*, because nobody can count it here: what EventBridge \
             and SNS send into queues and Lambda fetches from them (three requests for a message), the platform's own \
             log lines, Express's log, traces (at most three an order). Prices: on demand, ap-northeast-1, without free \
             tiers. Not in it: what costs the same without any order (containers, databases, alarms, and for each \
             instance of core-api a scan of the empty outbox a second, $0.19 a month).\n\n\
             DynamoDB for an order, Standard: {}.",
            standard.1
        ),
        columns: [
            "",
            "Standard",
            "Express",
            "$ per million",
            "Standard, $ per 1,000 orders",
            "Express, $ per 1,000 orders",
        ]
        .map(str::to_owned)
        .into(),
        rows,
        targets: vec![Target {
            what: "1,000 orders, Standard and Express".to_owned(),
            goal: "counted".to_owned(),
            reached: format!("{} and {}", format_dollars(totals[0]), format_dollars(totals[1])),
            met: true,
        }],
    })
}

/// Places orders and counts what they took. Returns the bill of one order, and its requests to DynamoDB in words.
async fn measure_bill(
    context: &Context,
    shop: &ApiClient,
    product: &str,
    machine: &str,
    orders: usize,
) -> anyhow::Result<(Bill, String)> {
    let customer = shop.create_customer().await?;
    // Every process that the run needs starts now, and its first reads are not the order's.
    place_orders_and_wait_for_mail(context, shop, &customer, product, 3).await?;

    cloudtrail::set_recording(context, true).await?;
    let from = context.clock.now();
    let placed = place_orders_and_wait_for_mail(context, shop, &customer, product, orders).await;
    let to = context.clock.now();
    cloudtrail::set_recording(context, false).await?;
    let names = placed?;

    let each = 1.0 / orders as f64;
    let mut requests = cloudtrail::lookup_requests(context, from, to).await?;
    requests.reverse();
    let of = |service: &str| -> Vec<&RecordedRequest> {
        requests
            .iter()
            .filter(|request| request.service == service)
            .collect()
    };
    let units = UnitCalculator::default()
        .consumed_units(context, &of("dynamodb"))
        .await?;
    let events: usize = of("events")
        .iter()
        .filter_map(|request| request.parameters["Entries"].as_array())
        .map(Vec::len)
        .sum();
    let functions = function_usage(context, from).await?;
    let (transitions, express_seconds, history) = execution_usage(machine, &names).await?;
    let express = machine == ExpressStateMachine::NAME;
    let express_log = if express {
        history * EXPRESS_LOG_EVENT_BYTES
    } else {
        0.0
    };

    let mut bill = Bill::from([
        (LineItem::Mails, 1.0),
        (LineItem::WriteUnits, units.writes as f64 * each),
        (LineItem::ReadUnits, units.reads as f64 * each),
        (LineItem::Events, events as f64 * each),
        (LineItem::Invocations, functions.invocations * each),
        (LineItem::GbSeconds, functions.billed_seconds * FUNCTION_GB * each),
        // Sent, received and deleted, in two queues.
        (LineItem::QueueRequests, 6.0),
        (LineItem::Publications, 1.0),
        (
            LineItem::LogKilobytes,
            ((functions.logged_bytes + functions.invocations * PLATFORM_LOG_BYTES) * each + express_log)
                / 1e3,
        ),
        (LineItem::Traces, 3.0),
    ]);
    if express {
        bill.insert(LineItem::ExpressRequests, 1.0);
        bill.insert(LineItem::ExpressGbSeconds, express_seconds * EXPRESS_GB);
    } else {
        bill.insert(LineItem::Transitions, transitions);
    }
    let mut operations: BTreeMap<&str, usize> = BTreeMap::new();
    for request in of("dynamodb") {
        // The relay's sweep goes on without orders as well, and nobody's order describes a table.
        if !["Scan", "DescribeTable"].contains(&request.operation.as_str()) {
            *operations.entry(&request.operation).or_default() += 1;
        }
    }
    let said = operations
        .iter()
        .map(|(operation, count)| format!("{:.1} {operation}", *count as f64 * each));
    Ok((bill, said.collect::<Vec<_>>().join(", ")))
}

/// Places orders, one a second, and waits until each customer has mail. Returns the orders' ids.
async fn place_orders_and_wait_for_mail(
    context: &Context,
    shop: &ApiClient,
    customer: &Customer,
    product: &str,
    orders: usize,
) -> anyhow::Result<Vec<String>> {
    let before = count_sent_mails(context).await?;
    let mut names = Vec::new();
    for _ in 0..orders {
        names.push(shop.place_accepted_order(customer, product).await?.0);
        sleep(Duration::from_secs(1)).await;
    }
    let until = Instant::now() + MAIL_TIMEOUT;
    while count_sent_mails(context).await? < before + orders {
        ensure!(Instant::now() < until, "not every customer has mail");
        sleep(Duration::from_millis(500)).await;
    }
    // A mail that was sent is still to be recorded, and its invocation to be reported.
    sleep(RECORDING_DELAY).await;
    Ok(names)
}

/// How many mails were sent so far.
async fn count_sent_mails(context: &Context) -> anyhow::Result<usize> {
    let url = format!("{}/_ministack/ses/messages", context.addresses.aws);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let sent: Value = client.get(url).send().await?.error_for_status()?.json().await?;
    let accounts = sent["messages"].as_object().into_iter().flatten();
    Ok(accounts
        .map(|(_, mails)| mails.as_array().map_or(0, Vec::len))
        .sum())
}

/// What the functions took together.
#[derive(Default)]
struct FunctionUsage {
    invocations: f64,
    /// Billed seconds.
    billed_seconds: f64,
    /// Bytes that they logged themselves.
    logged_bytes: f64,
}

async fn function_usage(context: &Context, from: Timestamp) -> anyhow::Result<FunctionUsage> {
    let mut all = FunctionUsage::default();
    for function in ORDER_FUNCTIONS {
        let input =
            json!({"logGroupName": format!("/aws/lambda/{function}"), "startTime": from.timestamp_millis()});
        let log = call_aws(context, "logs", "Logs_20140328.FilterLogEvents", &input).await?;
        for event in log["events"].as_array().into_iter().flatten() {
            let message = event["message"].as_str().unwrap_or_default();
            if let Some((_, billed)) = message.split_once("Billed Duration: ") {
                let milliseconds: f64 = billed
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .parse()
                    .context("a report tells no duration")?;
                all.invocations += 1.0;
                all.billed_seconds += milliseconds / 1e3;
            } else if message.starts_with('{') {
                // CloudWatch adds 26 bytes to each event.
                all.logged_bytes += message.len() as f64 + 26.0;
            }
        }
    }
    Ok(all)
}

/// Of one execution on average: state transitions, billed seconds if it is an Express one, and events of its history.
async fn execution_usage(machine: &str, names: &[String]) -> anyhow::Result<(f64, f64, f64)> {
    let sagas = aws_sdk_sfn::Client::new(&aws_client::sdk_config().await);
    let (mut transitions, mut seconds, mut events) = (0, 0.0, 0);
    for name in names {
        let arn = format!("arn:aws:states:ap-northeast-1:000000000000:execution:{machine}:{name}");
        let history = sagas
            .get_execution_history()
            .execution_arn(&arn)
            .max_results(1000)
            .send()
            .await?
            .events;
        let entered = history.iter().filter(|event| {
            matches!(
                event.r#type,
                HistoryEventType::TaskStateEntered | HistoryEventType::SucceedStateEntered
            )
        });
        // Into each state, and out of the last one.
        transitions += entered.count() + 1;
        let at = |event: Option<&aws_sdk_sfn::types::HistoryEvent>| {
            event.map_or(0.0, |event| event.timestamp.as_secs_f64())
        };
        // Each tenth of a second that has begun.
        seconds += ((at(history.last()) - at(history.first())) * 10.0).ceil() / 10.0;
        events += history.len();
    }
    let each = 1.0 / names.len() as f64;
    Ok((transitions as f64 * each, seconds * each, events as f64 * each))
}

impl LineItem {
    const ALL: [Self; 13] = [
        Self::Transitions,
        Self::ExpressRequests,
        Self::ExpressGbSeconds,
        Self::Mails,
        Self::WriteUnits,
        Self::ReadUnits,
        Self::Events,
        Self::Invocations,
        Self::GbSeconds,
        Self::QueueRequests,
        Self::Publications,
        Self::LogKilobytes,
        Self::Traces,
    ];

    /// What it is called, and what a million costs.
    fn name_and_price(self) -> (&'static str, f64) {
        match self {
            Self::Transitions => ("Step Functions: state transitions", price::TRANSITION),
            Self::ExpressRequests => ("Step Functions: Express executions", price::EXPRESS_REQUEST),
            Self::ExpressGbSeconds => ("Step Functions: Express GB-seconds", price::EXPRESS_GB_SECOND),
            Self::Mails => ("SES: mails", price::MAIL),
            Self::WriteUnits => ("DynamoDB: write units", price::WRITE_UNIT),
            Self::ReadUnits => ("DynamoDB: read units", price::READ_UNIT),
            Self::Events => ("EventBridge: events", price::EVENT),
            Self::Invocations => ("Lambda: invocations", price::INVOCATION),
            Self::GbSeconds => ("Lambda: GB-seconds", price::FUNCTION_GB_SECOND),
            Self::QueueRequests => ("SQS: requests, *derived*", price::QUEUE_REQUEST),
            Self::Publications => ("SNS: publications, *derived*", price::PUBLICATION),
            Self::LogKilobytes => ("CloudWatch Logs: KB, *partly derived*", price::LOG_KB),
            Self::Traces => ("X-Ray: traces, *derived*", price::TRACE),
        }
    }
}

/// Dollars for a thousand orders.
fn cost_per_thousand(line: LineItem, bill: &Bill) -> f64 {
    bill.get(&line).copied().unwrap_or(0.0) * line.name_and_price().1 / 1e3
}

fn total_cost(bill: &Bill) -> f64 {
    LineItem::ALL
        .into_iter()
        .map(|line| cost_per_thousand(line, bill))
        .sum()
}

fn table_row(line: LineItem, standard: &Bill, express: &Bill) -> Vec<String> {
    let (name, price) = line.name_and_price();
    let amount = |bill: &Bill| {
        let amount = bill.get(&line).copied().unwrap_or(0.0);
        if amount == 0.0 {
            "–".to_owned()
        } else {
            format!("{amount:.3}")
        }
    };
    vec![
        name.to_owned(),
        amount(standard),
        amount(express),
        format!("{price}"),
        format_dollars(cost_per_thousand(line, standard)),
        format_dollars(cost_per_thousand(line, express)),
    ]
}

fn format_dollars(amount: f64) -> String {
    format!("${amount:.4}")
}
