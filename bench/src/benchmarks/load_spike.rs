//! A load spike, as in a flash sale: ten times the normal load for a minute, on one product.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use crate::{
    api_client::{ApiClient, Customer, OrderResponse},
    context::Context,
    report::{Section, Target},
    stats::p50_and_p99,
};

/// The spike's load relative to the normal load.
const SPIKE_FACTOR: f64 = 10.0;

/// The normal load relative to the capacity of the local AWS. The spike is then twice the capacity.
const NORMAL_LOAD_SHARE: f64 = 0.2;

/// Orders per second that exceed the capacity of the local AWS.
const SATURATING_RATE: f64 = 40.0;

/// How long all accepted orders may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

/// The system has recovered when orders take at most this many times the normal p99.
const RECOVERY_FACTOR: f64 = 2.0;

/// One order request and its response.
struct Sample {
    /// Seconds since the start of the run.
    sent_at: f64,
    latency: Duration,
    /// `None` when the request failed.
    response: Option<OrderResponse>,
}

/// The final state of an order.
struct Completion {
    /// The status, with the reason in parentheses if there is one.
    outcome: String,
    /// Seconds since the start of the run.
    ended_at: f64,
}

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let api = ApiClient::new(context)?;
    let table = OrdersTable::new().await;
    let customer = api.create_customer().await?;

    let warm_up_product = api.create_product(1_000_000).await?;
    let capacity = measure_capacity(context, &api, &table, &customer, &warm_up_product).await?;
    let normal_rate = capacity * NORMAL_LOAD_SHARE;
    let (before, spike, after) = context.full_or_quick((20.0, 60.0, 30.0), (6.0, 12.0, 10.0));
    let expected = normal_rate * (before + spike * SPIKE_FACTOR + after);
    // The stock covers nine of ten expected orders.
    let quantity = (expected * 0.9) as u64;
    let product = api.create_product(quantity).await?;

    let start = context.clock.now();
    let mut samples = Vec::new();
    let phases = [
        ("before", normal_rate, before),
        ("spike", normal_rate * SPIKE_FACTOR, spike),
        ("after", normal_rate, after),
    ];
    let mut ends = Vec::new();
    for (_, rate, seconds) in phases {
        samples.extend(send_orders(context, &api, &customer, &product, start, rate, seconds).await?);
        ends.push(seconds_between(start, context.clock.now()));
    }
    let orders = table.wait_for_completion(start, &product).await?;
    let drained_at = seconds_between(start, context.clock.now());
    let (remaining, reserved) = api.stock_level(&product).await?;

    let accepted: Vec<(&Sample, &str)> = samples
        .iter()
        .filter_map(|sample| Some((sample, sample.response.as_ref()?.order_id.as_deref()?)))
        .collect();
    let lost = accepted
        .iter()
        .filter(|(_, id)| !orders.contains_key(*id))
        .count();
    let count = |outcome: &str| orders.values().filter(|order| order.outcome == outcome).count();
    let completed = count("completed");
    let is_consistent = completed as u64 + remaining == quantity && reserved == 0;

    let mut from = 0.0;
    let mut rows = Vec::new();
    let mut normal_p99 = f64::NAN;
    for ((name, rate, _), end) in phases.iter().zip(&ends) {
        let phase_samples: Vec<&Sample> = samples
            .iter()
            .filter(|sample| (from..*end).contains(&sample.sent_at))
            .collect();
        let latencies = p50_and_p99(phase_samples.iter().map(|sample| sample.latency.as_secs_f64()));
        let completion_times = phase_samples.iter().filter_map(|sample| {
            let order = orders.get(sample.response.as_ref()?.order_id.as_deref()?)?;
            Some(order.ended_at - sample.sent_at)
        });
        let completion_times = p50_and_p99(completion_times);
        if from == 0.0 {
            normal_p99 = completion_times.1;
        }
        rows.push(vec![
            (*name).to_owned(),
            format!("{rate:.1}"),
            phase_samples.len().to_string(),
            format_status_counts(&phase_samples),
            format!("{:.0} / {:.0} ms", latencies.0 * 1e3, latencies.1 * 1e3),
            format!("{:.1} / {:.1} s", completion_times.0, completion_times.1),
        ]);
        from = *end;
    }
    // The system has recovered when the last order ends that took longer than normal.
    let recovery_seconds = accepted
        .iter()
        .filter_map(|(sample, id)| Some((sample.sent_at, orders.get(*id)?.ended_at)))
        .filter(|(sent_at, ended_at)| ended_at - sent_at > normal_p99 * RECOVERY_FACTOR)
        .map(|(_, ended_at)| ended_at)
        .fold(ends[1], f64::max)
        - ends[1];

    let outcomes: BTreeMap<&str, usize> = orders.values().fold(BTreeMap::new(), |mut outcomes, order| {
        *outcomes.entry(order.outcome.as_str()).or_default() += 1;
        outcomes
    });
    let outcomes: Vec<String> = outcomes
        .iter()
        .map(|(outcome, count)| format!("{count} {outcome}"))
        .collect();
    Ok(Section {
        title: "Load spike".to_owned(),
        text: format!(
            "The normal load is a fifth of the capacity of the local AWS on this machine ({capacity:.1} \
             orders per second, measured with a burst), so a spike of ten times is twice the capacity: \
             {before:.0} s of normal load, {spike:.0} s of spike, {after:.0} s of normal load. All \
             customers order one product, whose stock covers nine of ten orders. Requests are sent at a \
             constant rate, whether or not earlier ones have responses. The queue buffers what the saga \
             cannot process: {} orders accepted, of which {}; {remaining} units remaining of {quantity}, \
             {reserved} still reserved; all orders had ended {:.0} s after the spike. Times are p50 / p99.",
            accepted.len(),
            outcomes.join(", "),
            drained_at - ends[1],
        ),
        columns: [
            "",
            "orders/s",
            "requests",
            "responses",
            "POST → response",
            "POST → order ended",
        ]
        .map(str::to_owned)
        .into(),
        rows,
        targets: vec![
            Target {
                what: "accepted orders that were lost".to_owned(),
                goal: "0".to_owned(),
                reached: lost.to_string(),
                met: lost == 0,
            },
            Target {
                what: "units sold and remaining, against the initial stock".to_owned(),
                goal: quantity.to_string(),
                reached: format!("{completed} + {remaining}, {reserved} reserved"),
                met: is_consistent,
            },
            Target {
                what: "recovery after the spike".to_owned(),
                goal: "no goal".to_owned(),
                reached: format!("{recovery_seconds:.0} s"),
                met: true,
            },
        ],
    })
}

/// Returns the number of orders per second that the system completes under saturating load.
async fn measure_capacity(
    context: &Context,
    api: &ApiClient,
    table: &OrdersTable,
    customer: &Customer,
    product: &str,
) -> anyhow::Result<f64> {
    let seconds = context.full_or_quick(10.0, 2.0);
    // The first orders start the processes and do not count.
    let warm_up_start = context.clock.now();
    send_orders(
        context,
        api,
        customer,
        product,
        warm_up_start,
        SATURATING_RATE,
        1.0,
    )
    .await?;
    let warm_up_orders = table.wait_for_completion(warm_up_start, product).await?.len();
    let start = context.clock.now();
    send_orders(context, api, customer, product, start, SATURATING_RATE, seconds).await?;
    let orders = table.wait_for_completion(start, product).await?;
    let last = orders.values().map(|order| order.ended_at).fold(0.0, f64::max);
    Ok((orders.len() - warm_up_orders) as f64 / last)
}

/// Sends orders at a constant rate, whether or not earlier ones have responses (open loop).
async fn send_orders(
    context: &Context,
    api: &ApiClient,
    customer: &Customer,
    product: &str,
    start: Timestamp,
    rate: f64,
    seconds: f64,
) -> anyhow::Result<Vec<Sample>> {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    let mut requests = JoinSet::new();
    for _ in 0..(rate * seconds) as usize {
        ticks.tick().await;
        let (api, customer, product) = (api.clone(), customer.clone(), product.to_owned());
        let (sent_at, started) = (seconds_between(start, context.clock.now()), Instant::now());
        requests.spawn(async move {
            let response = api.place_order(&customer, &product).await.ok();
            let latency = started.elapsed();
            Sample {
                sent_at,
                latency,
                response,
            }
        });
    }
    Ok(requests.join_all().await)
}

/// The orders table.
struct OrdersTable(aws_sdk_dynamodb::Client);

impl OrdersTable {
    async fn new() -> Self {
        Self(aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await))
    }

    /// Waits until all orders of a product have ended. Returns their final states by order id.
    async fn wait_for_completion(
        &self,
        start: Timestamp,
        product: &str,
    ) -> anyhow::Result<BTreeMap<String, Completion>> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        loop {
            let orders = self.find_orders(start, product).await?;
            if let Some(ended) = orders.into_iter().map(|(id, end)| Some((id, end?))).collect() {
                return Ok(ended);
            }
            ensure!(Instant::now() < deadline, "not every order ended in time");
            // Scanning is load as well, so the interval is long.
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn find_orders(
        &self,
        start: Timestamp,
        product: &str,
    ) -> anyhow::Result<Vec<(String, Option<Completion>)>> {
        let mut pages = self
            .0
            .scan()
            .table_name("ecommerce-orders")
            .consistent_read(true)
            .filter_expression("#items[0].product_id = :product")
            .expression_attribute_names("#items", "items")
            .expression_attribute_values(":product", AttributeValue::S(product.to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut orders = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item?;
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
            let id = text("order_id").context("an order has no order_id")?;
            let status = text("status").context("an order has no status")?;
            let updated_at: Timestamp = text("updated_at")
                .context("an order has no updated_at")?
                .parse()?;
            let outcome = match text("reason") {
                Some(reason) => format!("{status} ({reason})"),
                None => status.clone(),
            };
            let has_ended = ["completed", "failed", "cancelled"].contains(&status.as_str());
            let ended_at = seconds_between(start, updated_at);
            orders.push((id.clone(), has_ended.then_some(Completion { outcome, ended_at })));
        }
        Ok(orders)
    }
}

/// Formats the number of responses by status.
fn format_status_counts(samples: &[&Sample]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for sample in samples {
        let status = sample
            .response
            .as_ref()
            .map_or("no response".to_owned(), |response| {
                response.status.as_u16().to_string()
            });
        *counts.entry(status).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    counts.join(", ")
}

/// Returns the seconds from `start` to `at`.
fn seconds_between(start: Timestamp, at: Timestamp) -> f64 {
    (at - start).as_seconds_f64()
}
