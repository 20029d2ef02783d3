//! The AWS cost of an order: requests counted in a run, multiplied with the public prices.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail, ensure};
use aws_sdk_sfn::types::HistoryEventType;
use serde_json::Value;
use strum::VariantArray as _;
use tokio::time::{Instant, sleep};

use crate::{
    api_client::{ApiClient, Customer},
    aws_prices::{Bill, LineItem, cost_per_thousand, format_amount, format_dollars, total_cost},
    cloudtrail::{self, RecordedRequest},
    context::Context,
    dynamodb_units::UnitCalculator,
    express_state_machine::ExpressStateMachine,
    function_usage::FunctionUsage,
    report::{Section, Target},
};

/// The functions that the saga of a completed order invokes.
const SAGA_FUNCTIONS: [&str; 6] = [
    "create-payment",
    "reserve-stock",
    "process-payment",
    "update-stock",
    "complete-order",
    "send-notification",
];

/// The functions that a completed order invokes through their queues.
const QUEUE_FUNCTIONS: [&str; 6] = [
    "order-processor",
    "notification-sender",
    "receipt-writer",
    "status-push",
    "sms-sender",
    "stock-push",
];

/// Each message is sent, received and deleted.
const REQUESTS_PER_QUEUE_MESSAGE: f64 = 3.0;

/// Express workflows are billed in steps of 64 MB, and the state of a saga fits in one.
const EXPRESS_GB: f64 = 0.0625;

/// Bytes that an event of an Express execution takes in its log, without data. Derived from AWS's examples.
const EXPRESS_LOG_EVENT_BYTES: f64 = 450.0;

/// How long the last mail of a run may take.
const MAIL_TIMEOUT: Duration = Duration::from_secs(180);

/// Time for the work after the last mail, on a busy machine.
const RECORDING_DELAY: Duration = Duration::from_secs(3);

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let api = ApiClient::new(context)?;
    let product = api.create_product(1_000_000).await?;
    let orders = context.full_or_quick(40, 10);

    let standard = measure_bill(context, &api, &product, "order-saga", orders).await?;
    let express = ExpressStateMachine::deploy(context).await?;
    let measured_express = measure_bill(context, &api, &product, ExpressStateMachine::NAME, orders).await;
    // Restore order-processor even after a failure, because other benchmarks run later.
    express.remove(context).await?;
    let express = measured_express?;

    let totals = [&standard, &express].map(|(bill, _)| total_cost(bill));
    let mut rows: Vec<Vec<String>> = LineItem::VARIANTS
        .iter()
        .copied()
        .filter(|line| {
            [&standard, &express]
                .iter()
                .any(|(bill, _)| bill.contains_key(line))
        })
        .map(|line| table_row(line, &standard.0, &express.0))
        .collect();
    rows.push(
        [
            "**total**".to_owned(),
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
            "{orders} completed orders with a Standard and with an Express state machine, one order after \
             another, so every batch has one message, which is the most expensive case. The numbers come \
             from the CloudTrail of the local AWS (data plane included), the executions' histories and the \
             functions' reports, which include the overhead of the emulator. DynamoDB units are computed \
             from the sizes of the recorded items. *Derived* numbers cannot be counted locally: messages \
             from EventBridge and SNS to queues and Lambda's polling (three requests per message), the \
             receipt, the platform's own log lines, the Express log, and traces (at most three per order). \
             The customer has no WebSocket connection and wants no SMS. Prices: on \
             demand, ap-northeast-1, without free tiers. Not included: costs that do not depend on orders \
             (containers, databases, alarms, and one scan of the empty outbox per second and core-api \
             instance, $0.19 per month).\n\nDynamoDB requests per order, Standard: {}.",
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
            what: "cost of 1,000 orders, Standard and Express".to_owned(),
            goal: "no goal".to_owned(),
            reached: format!("{} and {}", format_dollars(totals[0]), format_dollars(totals[1])),
            met: true,
        }],
    })
}

/// Places orders and counts their usage. Returns the bill of one order, and a text with its DynamoDB
/// requests.
async fn measure_bill(
    context: &Context,
    api: &ApiClient,
    product: &str,
    state_machine: &str,
    orders: usize,
) -> anyhow::Result<(Bill, String)> {
    let customer = api.create_customer().await?;
    // Warm up: start all processes and do their first reads before the measurement.
    place_orders_and_wait_for_mail(context, api, &customer, product, 3).await?;

    cloudtrail::set_recording(context, true).await?;
    let from = context.clock.now();
    let placed = place_orders_and_wait_for_mail(context, api, &customer, product, orders).await;
    let to = context.clock.now();
    cloudtrail::set_recording(context, false).await?;
    let order_ids = placed?;

    let per_order = 1.0 / orders as f64;
    let mut requests = cloudtrail::lookup_requests(context, from, to).await?;
    requests.reverse();
    let requests_to = |service: &str| -> Vec<&RecordedRequest> {
        requests
            .iter()
            .filter(|request| request.service == service)
            .collect()
    };
    let units = UnitCalculator::default()
        .consumed_units(context, &requests_to("dynamodb"))
        .await?;
    let events: usize = requests_to("events")
        .iter()
        .filter_map(|request| request.parameters["Entries"].as_array())
        .map(Vec::len)
        .sum();
    let saga = FunctionUsage::read(context, &SAGA_FUNCTIONS, from).await?;
    let consumers = FunctionUsage::read(context, &QUEUE_FUNCTIONS, from).await?;
    let (transitions, express_seconds, history) = execution_usage(state_machine, &order_ids).await?;
    let express = state_machine == ExpressStateMachine::NAME;
    let express_log = if express {
        history * EXPRESS_LOG_EVENT_BYTES
    } else {
        0.0
    };

    let mut bill = Bill::from([
        (LineItem::Mails, 1.0),
        (LineItem::WriteUnits, units.writes as f64 * per_order),
        (LineItem::ReadUnits, units.reads * per_order),
        (LineItem::Events, events as f64 * per_order),
        (
            LineItem::Invocations,
            (saga.invocations + consumers.invocations) * per_order,
        ),
        (
            LineItem::GbSeconds,
            (saga.gigabyte_seconds() + consumers.gigabyte_seconds()) * per_order,
        ),
        (
            LineItem::QueueRequests,
            consumers.invocations * REQUESTS_PER_QUEUE_MESSAGE * per_order,
        ),
        (LineItem::Publications, 1.0),
        (LineItem::ObjectWrites, 1.0),
        (
            LineItem::LogKilobytes,
            (saga.logged_kilobytes() + consumers.logged_kilobytes()) * per_order + express_log / 1e3,
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
    for request in requests_to("dynamodb") {
        // The relay scans the outbox without orders too, and describing tables belongs to no order.
        if !["Scan", "DescribeTable"].contains(&request.operation.as_str()) {
            *operations.entry(&request.operation).or_default() += 1;
        }
    }
    let operation_counts = operations
        .iter()
        .map(|(operation, count)| format!("{:.1} {operation}", *count as f64 * per_order));
    Ok((bill, operation_counts.collect::<Vec<_>>().join(", ")))
}

/// Places one order per second and waits until each one has sent its mail. Returns the orders' ids.
async fn place_orders_and_wait_for_mail(
    context: &Context,
    api: &ApiClient,
    customer: &Customer,
    product: &str,
    orders: usize,
) -> anyhow::Result<Vec<String>> {
    let before = count_sent_mails(context).await?;
    let mut order_ids = Vec::new();
    for _ in 0..orders {
        order_ids.push(api.place_accepted_order(customer, product).await?.0);
        sleep(Duration::from_secs(1)).await;
    }
    let deadline = Instant::now() + MAIL_TIMEOUT;
    while count_sent_mails(context).await? < before + orders {
        ensure!(Instant::now() < deadline, "not every order has sent its mail");
        sleep(Duration::from_millis(500)).await;
    }
    // CloudTrail still has to record the last mail, and Lambda has to report its invocation.
    sleep(RECORDING_DELAY).await;
    Ok(order_ids)
}

/// Returns the number of mails that SES has sent so far.
async fn count_sent_mails(context: &Context) -> anyhow::Result<usize> {
    let url = format!("{}/_ministack/ses/messages", context.addresses.aws);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let sent: Value = client.get(url).send().await?.error_for_status()?.json().await?;
    let mails_by_account = sent["messages"]
        .as_object()
        .context("MiniStack returned no mails by account")?;
    Ok(mails_by_account
        .values()
        .map(|mails| mails.as_array().map_or(0, Vec::len))
        .sum())
}

/// Returns averages per execution: state transitions, billed seconds of an Express execution, and history
/// events.
async fn execution_usage(state_machine: &str, order_ids: &[String]) -> anyhow::Result<(f64, f64, f64)> {
    let step_functions = aws_sdk_sfn::Client::new(&aws_client::sdk_config().await);
    let (mut transitions, mut seconds, mut events) = (0, 0.0, 0);
    for name in order_ids {
        let arn = format!("arn:aws:states:ap-northeast-1:000000000000:execution:{state_machine}:{name}");
        let history = step_functions.get_execution_history().execution_arn(&arn);
        let history: Vec<_> = history.into_paginator().items().send().try_collect().await?;
        let entered = history.iter().filter(|event| {
            matches!(
                event.r#type,
                HistoryEventType::TaskStateEntered | HistoryEventType::SucceedStateEntered
            )
        });
        // One transition into each state, and one out of the last.
        transitions += entered.count() + 1;
        let (Some(first), Some(last)) = (history.first(), history.last()) else {
            bail!("the execution {arn} has no history");
        };
        let duration = last.timestamp.as_secs_f64() - first.timestamp.as_secs_f64();
        // Express workflows are billed per started 100 ms.
        seconds += (duration * 10.0).ceil() / 10.0;
        events += history.len();
    }
    let per_order = 1.0 / order_ids.len() as f64;
    Ok((
        transitions as f64 * per_order,
        seconds * per_order,
        events as f64 * per_order,
    ))
}

fn table_row(line: LineItem, standard: &Bill, express: &Bill) -> Vec<String> {
    let (name, price) = line.name_and_price();
    vec![
        name.to_owned(),
        format_amount(line, standard),
        format_amount(line, express),
        format!("{price}"),
        format_dollars(cost_per_thousand(line, standard)),
        format_dollars(cost_per_thousand(line, express)),
    ]
}
