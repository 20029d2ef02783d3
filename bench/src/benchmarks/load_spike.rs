//! The sale: ten times the usual load for a minute, on one product, and what becomes of the orders.

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
    stats::percentile,
};

/// A sale is so many times the usual load.
const SPIKE_FACTOR: f64 = 10.0;

/// The usual load is this part of what the local AWS carries to the end: a sale is then twice of that.
const NORMAL_LOAD_SHARE: f64 = 0.2;

/// Orders a second with which is found out what the local AWS carries.
const SATURATING_RATE: f64 = 40.0;

/// How long everything that was accepted may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

/// How soon after the sale the way of an order has to be as long as before, to count as recovered, within this factor.
const RECOVERY_FACTOR: f64 = 2.0;

/// A request of the run, and what came back.
struct Sample {
    /// Seconds since the run's first.
    sent_at: f64,
    latency: Duration,
    /// Nothing when there was no answer.
    response: Option<OrderResponse>,
}

/// An order as the table has it at the end.
struct Completion {
    /// `completed`, or `failed` and why.
    outcome: String,
    /// Seconds from the first request to its end.
    ended_at: f64,
}

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let shop = ApiClient::new(context)?;
    let table = OrdersTable::new().await;
    let customer = shop.create_customer().await?;

    let warm = shop.create_product(1_000_000).await?;
    let capacity = measure_capacity(context, &shop, &table, &customer, &warm).await?;
    let usual = capacity * NORMAL_LOAD_SHARE;
    let (before, during, after) = context.full_or_quick((20.0, 60.0, 30.0), (6.0, 12.0, 10.0));
    let expected = usual * (before + during * SPIKE_FACTOR + after);
    // A tenth of the buyers comes too late.
    let pieces = (expected * 0.9) as u64;
    let product = shop.create_product(pieces).await?;

    let zero = context.clock.now();
    let mut asked = Vec::new();
    let phases = [
        ("before", usual, before),
        ("the sale", usual * SPIKE_FACTOR, during),
        ("after", usual, after),
    ];
    let mut ends = Vec::new();
    for (_, rate, seconds) in phases {
        asked.extend(send_orders(context, &shop, &customer, &product, zero, rate, seconds).await?);
        ends.push(seconds_between(zero, context.clock.now()));
    }
    let orders = table.wait_for_completion(zero, &product).await?;
    let drained = seconds_between(zero, context.clock.now());
    let (left, reserved) = shop.stock_level(&product).await?;

    let accepted: Vec<(&Sample, &str)> = asked
        .iter()
        .filter_map(|asked| Some((asked, asked.response.as_ref()?.order_id.as_deref()?)))
        .collect();
    let lost = accepted
        .iter()
        .filter(|(_, id)| !orders.contains_key(*id))
        .count();
    let count = |how: &str| orders.values().filter(|order| order.outcome == how).count();
    let completed = count("completed");
    let balanced = completed as u64 + left == pieces && reserved == 0;

    let mut from = 0.0;
    let mut rows = Vec::new();
    let mut usual_way = f64::NAN;
    for ((name, rate, _), end) in phases.iter().zip(&ends) {
        let asked: Vec<&Sample> = asked
            .iter()
            .filter(|asked| (from..*end).contains(&asked.sent_at))
            .collect();
        let answers = p50_and_p99(asked.iter().map(|asked| asked.latency.as_secs_f64()));
        let ways = asked.iter().filter_map(|asked| {
            let order = orders.get(asked.response.as_ref()?.order_id.as_deref()?)?;
            Some(order.ended_at - asked.sent_at)
        });
        let ways = p50_and_p99(ways);
        if from == 0.0 {
            usual_way = ways.1;
        }
        rows.push(vec![
            (*name).to_owned(),
            format!("{rate:.1}"),
            asked.len().to_string(),
            format_status_counts(&asked),
            format!("{:.0} / {:.0} ms", answers.0 * 1e3, answers.1 * 1e3),
            format!("{:.1} / {:.1} s", ways.0, ways.1),
        ]);
        from = *end;
    }
    // The last order whose way was longer than usual: from its end on everything is as before.
    let recovered = accepted
        .iter()
        .filter_map(|(asked, id)| Some((asked.sent_at, orders.get(*id)?.ended_at)))
        .filter(|(at, end)| end - at > usual_way * RECOVERY_FACTOR)
        .map(|(_, end)| end)
        .fold(ends[1], f64::max)
        - ends[1];

    let kinds: BTreeMap<&str, usize> = orders.values().fold(BTreeMap::new(), |mut kinds, order| {
        *kinds.entry(order.outcome.as_str()).or_default() += 1;
        kinds
    });
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(how, count)| format!("{count} {how}"))
        .collect();
    Ok(Section {
        title: "The sale".to_owned(),
        text: format!(
            "The usual load is a fifth of what this machine's local AWS carries to the end ({capacity:.1} orders a second, \
             measured first with a burst), so a sale of ten times is twice more than it can carry: {before:.0} s as usual, \
             {during:.0} s of sale, {after:.0} s as usual, everybody after one product of which there is enough for nine of \
             ten buyers. Requests come at their time whether or not earlier ones are answered. The queue takes what the saga \
             cannot: {} orders accepted, of which {}; {left} pieces left of {pieces}, {reserved} still set aside; all had \
             ended {:.0} s after the sale. p50 / p99.",
            accepted.len(),
            kinds.join(", "),
            drained - ends[1],
        ),
        columns: [
            "",
            "orders/s",
            "asked",
            "answered",
            "POST → answer",
            "asked → order's end",
        ]
        .map(str::to_owned)
        .into(),
        rows,
        targets: vec![
            Target {
                what: "accepted orders that came to no end".to_owned(),
                goal: "0".to_owned(),
                reached: lost.to_string(),
                met: lost == 0,
            },
            Target {
                what: "pieces sold and pieces left against pieces there were".to_owned(),
                goal: pieces.to_string(),
                reached: format!("{completed} + {left}, {reserved} set aside"),
                met: balanced,
            },
            Target {
                what: "back to the usual way of an order after the sale".to_owned(),
                goal: "measured".to_owned(),
                reached: format!("{recovered:.0} s"),
                met: true,
            },
        ],
    })
}

/// How many orders a second the system brings to their end when there are always more.
async fn measure_capacity(
    context: &Context,
    shop: &ApiClient,
    table: &OrdersTable,
    customer: &Customer,
    product: &str,
) -> anyhow::Result<f64> {
    let seconds = context.full_or_quick(10.0, 2.0);
    // First for the processes, then for the clock.
    let warm_up = context.clock.now();
    send_orders(context, shop, customer, product, warm_up, SATURATING_RATE, 1.0).await?;
    let warm = table.wait_for_completion(warm_up, product).await?.len();
    let zero = context.clock.now();
    send_orders(context, shop, customer, product, zero, SATURATING_RATE, seconds).await?;
    let orders = table.wait_for_completion(zero, product).await?;
    let last = orders.values().map(|order| order.ended_at).fold(0.0, f64::max);
    Ok((orders.len() - warm) as f64 / last)
}

/// Orders at a rate for some seconds, each at its time.
async fn send_orders(
    context: &Context,
    shop: &ApiClient,
    customer: &Customer,
    product: &str,
    zero: Timestamp,
    rate: f64,
    seconds: f64,
) -> anyhow::Result<Vec<Sample>> {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    let mut requests = JoinSet::new();
    for _ in 0..(rate * seconds) as usize {
        ticks.tick().await;
        let (shop, customer, product) = (shop.clone(), customer.clone(), product.to_owned());
        let (at, started) = (seconds_between(zero, context.clock.now()), Instant::now());
        requests.spawn(async move {
            let answer = shop.place_order(&customer, &product).await.ok();
            let took = started.elapsed();
            Sample {
                sent_at: at,
                latency: took,
                response: answer,
            }
        });
    }
    Ok(requests.join_all().await)
}

/// The table of orders.
struct OrdersTable(aws_sdk_dynamodb::Client);

impl OrdersTable {
    async fn new() -> Self {
        Self(aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await))
    }

    /// Every order of a product, once all of them have ended: its id, and how it ended.
    async fn wait_for_completion(
        &self,
        zero: Timestamp,
        product: &str,
    ) -> anyhow::Result<BTreeMap<String, Completion>> {
        let until = Instant::now() + DRAIN_TIMEOUT;
        loop {
            let orders = self.find_orders(zero, product).await?;
            if let Some(ended) = orders.into_iter().map(|(id, end)| Some((id, end?))).collect() {
                return Ok(ended);
            }
            ensure!(Instant::now() < until, "orders have not ended");
            // Looking is a load of its own.
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn find_orders(
        &self,
        zero: Timestamp,
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
            let id = text("order_id").context("an order has no id")?;
            let status = text("status").context("an order has no status")?;
            let end: Timestamp = text("updated_at").context("an order has no time")?.parse()?;
            let how = match text("reason") {
                Some(reason) => format!("{status} ({reason})"),
                None => status.clone(),
            };
            let ended = ["completed", "failed", "cancelled"].contains(&status.as_str());
            let at = seconds_between(zero, end);
            orders.push((
                id.clone(),
                ended.then_some(Completion {
                    outcome: how,
                    ended_at: at,
                }),
            ));
        }
        Ok(orders)
    }
}

/// What was answered, by status.
fn format_status_counts(asked: &[&Sample]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for asked in asked {
        let status = asked.response.as_ref().map_or("no answer".to_owned(), |answer| {
            answer.status.as_u16().to_string()
        });
        *counts.entry(status).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    counts.join(", ")
}

/// What half of the values do not exceed, and what all but one in a hundred do not.
fn p50_and_p99(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    (percentile(values.clone(), 0.5), percentile(values, 0.99))
}

/// Seconds from one moment to another.
fn seconds_between(zero: Timestamp, at: Timestamp) -> f64 {
    (at - zero).as_seconds_f64()
}
