//! `chaos`: places orders and follows them over the WebSocket API while it injects random faults, and then
//! checks the consistency of the system.
//!
//! `cargo xtask chaos` starts a system for it and passes the system's addresses in environment variables. The
//! same seed and number of orders give the same schedule.

mod authentication;
mod client;
mod connected_customer;
mod event_replayer;
mod fault_injector;
mod redrive;
mod report;
mod schedule;

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use e2e::{
    consistency::{Collector, Observations, PendingWork, QuiescentSnapshot},
    system::{ApiCaller, TestSystem},
};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use client::{OrderClient, PurchaseOutcome};
use connected_customer::{ConnectedCustomers, ConnectionResults};
use event_replayer::EventReplayer;
use fault_injector::FaultInjector;
use report::ChaosReport;
use schedule::{Purchase, Schedule};

/// How many customers place orders at the same time, each waiting for the outcome. The local AWS is one
/// process, so more customers would only wait for each other.
const CONCURRENT_CUSTOMERS: usize = 32;

/// One in this many customers wants SMS.
const SMS_SHARE: usize = 2;

/// How long a pinned fault stays after the purchase: longer than all retries of a saga step.
const PINNED_FAULT_DURATION: Duration = Duration::from_secs(40);

/// How long the system may take to become quiescent. The reconciler handles an order only after
/// a delay.
const QUIESCENCE_TIMEOUT: Duration = Duration::from_secs(1200);

/// How long a quiescent system may take until its snapshot is stable.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(180);

/// How often the dead-letter queues are redriven at most.
const MAX_REDRIVE_ROUNDS: usize = 3;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Injects random faults into a running system under load and checks its consistency afterwards
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of orders to place
    #[arg(long)]
    orders: usize,
    /// Seed of all random choices
    #[arg(long)]
    seed: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let system = Arc::new(TestSystem::shared());
    let injector = Arc::new(FaultInjector::new(system.faults.clone())?);
    let run = run(&arguments, &system, &injector);
    let report = tokio::select! {
        report = run => report?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot listen for Ctrl-C")?;
            injector.stop().await?;
            return Ok(ExitCode::from(130));
        }
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.to_string()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn run(
    arguments: &Arguments,
    system: &Arc<TestSystem>,
    injector: &Arc<FaultInjector>,
) -> Result<ChaosReport> {
    let collector = Collector::from_env().await?;
    let schedule = Schedule::generate(arguments.orders, arguments.seed);
    let products: Vec<String> = stream::iter(&schedule.stock)
        .map(|quantity| system.create_product(700, *quantity))
        .buffered(4)
        .collect()
        .await;
    let mut customers = Vec::with_capacity(schedule.customers);
    for index in 0..schedule.customers {
        customers.push(create_customer(system, index).await.id);
    }
    let replayer = Arc::new(EventReplayer::create(schedule.replay_ratio, schedule.seed).await?);
    let (stop_replays, stop_observing) = (CancellationToken::new(), CancellationToken::new());
    let observing = {
        let replayer = Arc::clone(&replayer);
        let (stop_replays, stop_observing) = (stop_replays.clone(), stop_observing.clone());
        tokio::spawn(async move { replayer.run(&stop_replays, &stop_observing).await })
    };

    let connected = ConnectedCustomers::new(Arc::clone(system), schedule.seed);
    let started = Instant::now();
    injector.start(&schedule).await?;
    let context = PurchaseContext {
        system,
        injector,
        schedule: &schedule,
        connected: &connected,
        customers: &customers,
        products: &products,
    };
    let sent = AtomicUsize::new(0);
    let purchases = stream::iter(schedule.purchases.iter().enumerate())
        .map(|(number, purchase)| {
            sent.fetch_add(1, Ordering::Relaxed);
            context.run(number, purchase)
        })
        .buffer_unordered(CONCURRENT_CUSTOMERS)
        .collect::<Vec<Result<PurchaseOutcome>>>();
    let progress = async {
        loop {
            sleep(PROGRESS_INTERVAL).await;
            let sent = sent.load(Ordering::Relaxed);
            print_progress(
                started,
                &format!(
                    "{sent} of {} orders sent, {}",
                    arguments.orders,
                    outcome_summary(&replayer)
                ),
            );
        }
    };
    let (outcomes, disruptions) = tokio::select! {
        done = async { tokio::join!(purchases, run_disruptions(&schedule, injector, &sent)) } => done,
        never = progress => never,
    };
    disruptions?;
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    let load = started.elapsed();

    // Faults and replays end here. Publish the events that still wait for a delayed replay.
    injector.stop().await?;
    connected.end_faults();
    stop_replays.cancel();
    replayer.flush().await?;
    let mut last_print = Instant::now();
    let mut report_pending = |pending: &PendingWork| {
        if last_print.elapsed() >= PROGRESS_INTERVAL {
            last_print = Instant::now();
            let outcomes = outcome_summary(&replayer);
            print_progress(started, &format!("waiting for quiescence: {pending}; {outcomes}"));
        }
    };
    collector
        .await_quiescence(QUIESCENCE_TIMEOUT, &mut report_pending)
        .await?;
    let mut redriven = BTreeMap::new();
    for _ in 0..MAX_REDRIVE_ROUNDS {
        let counts = redrive::redrive().await?;
        let is_empty = counts.iter().all(|(_, count)| *count == 0);
        for (queue, count) in counts {
            *redriven.entry(queue).or_default() += count;
        }
        if is_empty {
            break;
        }
        // Every redrive adds work, also the last one.
        collector
            .await_quiescence(QUIESCENCE_TIMEOUT, &mut report_pending)
            .await?;
    }
    let settle = started.elapsed() - load;
    stop_observing.cancel();
    observing.await??;

    let QuiescentSnapshot {
        mut snapshot,
        not_quiescent,
    } = collector
        .collect_when_quiescent(SNAPSHOT_TIMEOUT, &mut report_pending)
        .await?;
    snapshot.observed_events = replayer.observed_events();
    let ConnectionResults {
        report: connections,
        observations: connected_customers,
        unexpected_messages,
    } = connected.finish().await?;
    let replays = replayer.replay_counts();
    injector.count("events replayed immediately", replays.immediate);
    injector.count("events replayed after newer ones", replays.delayed);
    injector.count(
        "requests retried without a definite response",
        outcomes.iter().map(|outcome| outcome.retries).sum(),
    );
    injector.count(
        "requests repeated with the same idempotency key",
        outcomes.iter().map(|outcome| outcome.duplicate_requests).sum(),
    );
    let (requests, unexpected): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .map(|outcome| (outcome.observation, outcome.unexpected_responses))
        .unzip();
    let observations = Observations {
        requests,
        connected_customers,
    };
    Ok(ChaosReport {
        seed: arguments.seed,
        orders: arguments.orders,
        load_seconds: load.as_secs_f64(),
        settle_seconds: settle.as_secs_f64(),
        injected: injector.counts(),
        redriven: redriven.into_iter().filter(|(_, count)| *count > 0).collect(),
        outcomes: report::count_outcomes(&snapshot),
        authentications: report::count_authentications(&snapshot, &observations.requests),
        connections,
        unexpected_responses: unexpected
            .into_iter()
            .flatten()
            .chain(unexpected_messages)
            .collect(),
        not_quiescent,
        consistency: snapshot.check_invariants(&observations),
    })
}

/// What all purchases of a run share.
struct PurchaseContext<'a> {
    system: &'a TestSystem,
    injector: &'a Arc<FaultInjector>,
    schedule: &'a Schedule,
    connected: &'a ConnectedCustomers,
    /// The ids of the customers that place several orders.
    customers: &'a [String],
    /// The ids of all products.
    products: &'a [String],
}

async fn create_customer(system: &TestSystem, index: usize) -> ApiCaller {
    if index.is_multiple_of(SMS_SHARE) {
        system.customer_with_stored_number().await
    } else {
        system.customer().await
    }
}

impl PurchaseContext<'_> {
    async fn run(&self, number: usize, purchase: &Purchase) -> Result<PurchaseOutcome> {
        let customer = match self.customers.get(purchase.customer) {
            Some(id) => self.system.customer_with_id(id),
            None => create_customer(self.system, purchase.customer).await,
        };
        let pinned_fault = match purchase.pinned_fault {
            Some(fault) => Some(self.injector.pin_fault(&customer.id, fault).await?),
            None => None,
        };
        if self.schedule.connected_customers.contains(&purchase.customer) {
            let user_id = customer.id.parse().expect("a customer id is a UUID");
            self.connected.connect(purchase.customer, user_id);
        }
        let client = OrderClient {
            system: self.system,
            customer,
            purchase,
            products: self.products,
            connected: self.connected,
            idempotency_key: format!("purchase {number}"),
        };
        let outcome = client.place_order().await;
        if let Some(rule) = pinned_fault {
            let injector = Arc::clone(self.injector);
            tokio::spawn(async move {
                sleep(PINNED_FAULT_DURATION).await;
                injector.remove(rule).await
            });
        }
        Ok(outcome)
    }
}

/// Starts each disruption when its number of orders has been sent.
async fn run_disruptions(schedule: &Schedule, injector: &FaultInjector, sent: &AtomicUsize) -> Result<()> {
    for (after_orders, disruption) in &schedule.disruptions {
        while sent.load(Ordering::Relaxed) < *after_orders {
            sleep(Duration::from_millis(50)).await;
        }
        injector.run(*disruption).await?;
    }
    Ok(())
}

fn outcome_summary(replayer: &EventReplayer) -> String {
    let counts = replayer.outcome_counts();
    let count = |detail_type| counts.get(detail_type).copied().unwrap_or(0);
    format!(
        "{} completed, {} failed, {} cancelled",
        count("OrderCompleted"),
        count("OrderFailed"),
        count("OrderCancelled")
    )
}

fn print_progress(started: Instant, message: &str) {
    let seconds = started.elapsed().as_secs();
    eprintln!("  {:>3}:{:02}  {message}", seconds / 60, seconds % 60);
}
