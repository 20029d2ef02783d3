//! `chaos`: orders under load while everything goes wrong at random, and then the books.
//!
//! `cargo xtask chaos` brings up a system for it and says in the environment where that is. The same seed and
//! number of orders give the same plan.

mod client;
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
    consistency::{Collector, PendingWork},
    system::TestSystem,
};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use client::{OrderClient, PurchaseOutcome};
use event_replayer::EventReplayer;
use fault_injector::FaultInjector;
use report::ChaosReport;
use schedule::{Purchase, Schedule};

/// Customers who buy at the same time, each waiting for the end. More would only wait for each other: one process is
/// the local AWS.
const CONCURRENT_CUSTOMERS: usize = 32;

/// How long a cursed order stays so: longer than all of a step's retries.
const PINNED_FAULT_DURATION: Duration = Duration::from_secs(40);

/// How long it may take until nothing moves: the reconciler leaves an order alone for a while before it takes it on.
const QUIESCENCE_TIMEOUT: Duration = Duration::from_secs(1200);

/// How often an operator puts dead letters back before giving up on them.
const MAX_REDRIVE_ROUNDS: usize = 3;

/// How often the progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Disturbs a running system at random, and balances its books.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many orders
    #[arg(long)]
    orders: usize,
    /// What everything at random is drawn from
    #[arg(long)]
    seed: u64,
    /// The report for programs, on standard output
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let system = TestSystem::shared().await;
    let disturber = Arc::new(FaultInjector::new(system.faults.clone())?);
    let run = run(&arguments, &system, &disturber);
    let report = tokio::select! {
        report = run => report?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("signals cannot be heard")?;
            disturber.stop().await?;
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
    system: &TestSystem,
    disturber: &Arc<FaultInjector>,
) -> Result<ChaosReport> {
    let reader = Collector::from_env().await?;
    let plan = Schedule::generate(arguments.orders, arguments.seed);
    let products: Vec<String> = stream::iter(&plan.stock)
        .map(|pieces| system.create_product(700, *pieces))
        .buffered(4)
        .collect()
        .await;
    let mut customers = Vec::with_capacity(plan.customers);
    for _ in 0..plan.customers {
        customers.push(system.customer().await.id);
    }
    let ears = Arc::new(EventReplayer::create(plan.replay_ratio, plan.seed).await?);
    let (quiet, stop) = (CancellationToken::new(), CancellationToken::new());
    let listening = {
        let (ears, quiet, stop) = (Arc::clone(&ears), quiet.clone(), stop.clone());
        tokio::spawn(async move { ears.run(&quiet, &stop).await })
    };

    let began = Instant::now();
    disturber.start(&plan).await?;
    let sent = AtomicUsize::new(0);
    let buying = stream::iter(plan.purchases.iter().enumerate())
        .map(|(number, purchase)| {
            sent.fetch_add(1, Ordering::Relaxed);
            run_purchase(system, disturber, number, purchase, &customers, &products)
        })
        .buffer_unordered(CONCURRENT_CUSTOMERS)
        .collect::<Vec<Result<PurchaseOutcome>>>();
    let progress = async {
        loop {
            sleep(PROGRESS_INTERVAL).await;
            let sent = sent.load(Ordering::Relaxed);
            print_progress(
                began,
                &format!(
                    "{sent} of {} orders sent, {}",
                    arguments.orders,
                    outcome_summary(&ears)
                ),
            );
        }
    };
    let (bought, struck) = tokio::select! {
        done = async { tokio::join!(buying, run_disruptions(&plan, disturber, &sent)) } => done,
        never = progress => never,
    };
    struck?;
    let bought = bought.into_iter().collect::<Result<Vec<_>>>()?;
    let load = began.elapsed();

    // The faults end, and with them what was to be said late; then it has to come to rest.
    disturber.stop().await?;
    quiet.cancel();
    ears.flush().await?;
    let mut redriven = BTreeMap::new();
    let mut motion = PendingWork::default();
    for _ in 0..MAX_REDRIVE_ROUNDS {
        let mut told = Instant::now();
        let tell_motion = |motion: &PendingWork| {
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                print_progress(began, &format!("settling: {motion}; {}", outcome_summary(&ears)));
            }
        };
        motion = reader.await_quiescence(QUIESCENCE_TIMEOUT, tell_motion).await?;
        let letters = redrive::redrive().await?;
        let any = letters.iter().any(|(_, count)| *count > 0);
        for (queue, count) in letters {
            *redriven.entry(queue).or_default() += count;
        }
        if !any {
            break;
        }
    }
    stop.cancel();
    listening.await??;

    let mut books = reader.collect().await?;
    books.observed_events = ears.observed_events();
    let repeated = ears.replay_counts();
    disturber.count("events said twice at once", repeated.immediate);
    disturber.count("old events said again after new ones", repeated.delayed);
    disturber.count(
        "requests sent again for want of an answer",
        bought.iter().map(|b| b.retries).sum(),
    );
    disturber.count(
        "requests repeated with the same key",
        bought.iter().map(|b| b.duplicate_requests).sum(),
    );
    let (claims, wrong): (Vec<_>, Vec<_>) = bought
        .into_iter()
        .map(|bought| (bought.observation, bought.unexpected_responses))
        .unzip();
    Ok(ChaosReport {
        seed: arguments.seed,
        orders: arguments.orders,
        load_seconds: load.as_secs_f64(),
        settle_seconds: (began.elapsed() - load).as_secs_f64(),
        injected: disturber.counts(),
        redriven: redriven.into_iter().filter(|(_, count)| *count > 0).collect(),
        fates: report::count_outcomes(&books),
        wrong_answers: wrong.into_iter().flatten().collect(),
        unsettled: (motion != PendingWork::default()).then(|| motion.to_string()),
        verdict: books.check_invariants(&claims),
    })
}

async fn run_purchase(
    system: &TestSystem,
    disturber: &Arc<FaultInjector>,
    number: usize,
    purchase: &Purchase,
    customers: &[String],
    products: &[String],
) -> Result<PurchaseOutcome> {
    let person = match customers.get(purchase.customer) {
        Some(id) => system.customer_with_id(id),
        None => system.customer().await,
    };
    let curse = match purchase.pinned_fault {
        Some(curse) => Some(disturber.pin_fault(&person.id, curse).await?),
        None => None,
    };
    let buyer = OrderClient {
        system,
        customer: person,
        purchase,
        products,
        idempotency_key: format!("purchase {number}"),
    };
    let bought = buyer.place_order().await;
    if let Some(curse) = curse {
        let disturber = Arc::clone(disturber);
        tokio::spawn(async move {
            sleep(PINNED_FAULT_DURATION).await;
            disturber.remove(curse).await
        });
    }
    Ok(bought)
}

/// Strikes each blow when so many orders have been sent.
async fn run_disruptions(plan: &Schedule, disturber: &FaultInjector, sent: &AtomicUsize) -> Result<()> {
    for (at, blow) in &plan.disruptions {
        while sent.load(Ordering::Relaxed) < *at {
            sleep(Duration::from_millis(50)).await;
        }
        disturber.run(*blow).await?;
    }
    Ok(())
}

fn outcome_summary(ears: &EventReplayer) -> String {
    let ends = ears.outcome_counts();
    let number = |kind| ends.get(kind).copied().unwrap_or(0);
    format!(
        "{} completed, {} failed, {} cancelled",
        number("OrderCompleted"),
        number("OrderFailed"),
        number("OrderCancelled")
    )
}

fn print_progress(began: Instant, what: &str) {
    let seconds = began.elapsed().as_secs();
    eprintln!("  {:>3}:{:02}  {what}", seconds / 60, seconds % 60);
}
