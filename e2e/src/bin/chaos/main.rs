//! `chaos`: orders under load while everything goes wrong at random, and then the books.
//!
//! `cargo xtask chaos` brings up a system for it and says in the environment where that is. The same seed and
//! number of orders give the same plan.

mod buyer;
mod disturb;
mod ears;
mod plan;
mod redrive;
mod report;

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
    books::{Motion, Reader},
    system::System,
};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use buyer::{Bought, Buyer};
use disturb::Disturber;
use ears::Ears;
use plan::{Plan, Purchase};
use report::Report;

/// Customers who buy at the same time, each waiting for the end. More would only wait for each other: one process is
/// the local AWS.
const AT_ONCE: usize = 32;

/// How long a cursed order stays so: longer than all of a step's retries.
const CURSED_FOR: Duration = Duration::from_secs(40);

/// How long it may take until nothing moves: the reconciler leaves an order alone for a while before it takes it on.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How often an operator puts dead letters back before giving up on them.
const ROUNDS: usize = 3;

/// How often the progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

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
    let system = System::shared().await;
    let disturber = Arc::new(Disturber::new(system.faults.clone())?);
    let run = run(&arguments, &system, &disturber);
    let report = tokio::select! {
        report = run => report?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("signals cannot be heard")?;
            disturber.end().await?;
            return Ok(ExitCode::from(130));
        }
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.to_string()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn run(arguments: &Arguments, system: &System, disturber: &Arc<Disturber>) -> Result<Report> {
    let reader = Reader::from_environment().await?;
    let plan = Plan::draw(arguments.orders, arguments.seed);
    let products: Vec<String> = stream::iter(&plan.stock)
        .map(|pieces| system.product(700, *pieces))
        .buffered(4)
        .collect()
        .await;
    let mut customers = Vec::with_capacity(plan.customers);
    for _ in 0..plan.customers {
        customers.push(system.customer().await.id);
    }
    let ears = Arc::new(Ears::open(plan.repeated, plan.seed).await?);
    let (quiet, stop) = (CancellationToken::new(), CancellationToken::new());
    let listening = {
        let (ears, quiet, stop) = (Arc::clone(&ears), quiet.clone(), stop.clone());
        tokio::spawn(async move { ears.run(&quiet, &stop).await })
    };

    let began = Instant::now();
    disturber.begin(&plan).await?;
    let sent = AtomicUsize::new(0);
    let buying = stream::iter(plan.purchases.iter().enumerate())
        .map(|(number, purchase)| {
            sent.fetch_add(1, Ordering::Relaxed);
            buy(system, disturber, number, purchase, &customers, &products)
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<Result<Bought>>>();
    let progress = async {
        loop {
            sleep(TELL_EVERY).await;
            let sent = sent.load(Ordering::Relaxed);
            tell(
                began,
                &format!("{sent} of {} orders sent, {}", arguments.orders, ended(&ears)),
            );
        }
    };
    let (bought, struck) = tokio::select! {
        done = async { tokio::join!(buying, strike(&plan, disturber, &sent)) } => done,
        never = progress => never,
    };
    struck?;
    let bought = bought.into_iter().collect::<Result<Vec<_>>>()?;
    let load = began.elapsed();

    // The faults end, and with them what was to be said late; then it has to come to rest.
    disturber.end().await?;
    quiet.cancel();
    ears.say_the_rest().await?;
    let mut redriven = BTreeMap::new();
    let mut motion = Motion::default();
    for _ in 0..ROUNDS {
        let mut told = Instant::now();
        let tell_motion = |motion: &Motion| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tell(began, &format!("settling: {motion}; {}", ended(&ears)));
            }
        };
        motion = reader.settled(PATIENCE, tell_motion).await?;
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

    let mut books = reader.read().await?;
    books.heard = ears.heard();
    let repeated = ears.repeated();
    disturber.count("events said twice at once", repeated.at_once);
    disturber.count("old events said again after new ones", repeated.late);
    disturber.count(
        "requests sent again for want of an answer",
        bought.iter().map(|b| b.resent).sum(),
    );
    disturber.count(
        "requests repeated with the same key",
        bought.iter().map(|b| b.repeated).sum(),
    );
    let (claims, wrong): (Vec<_>, Vec<_>) = bought
        .into_iter()
        .map(|bought| (bought.claim, bought.wrong))
        .unzip();
    Ok(Report {
        seed: arguments.seed,
        orders: arguments.orders,
        load_seconds: load.as_secs_f64(),
        settle_seconds: (began.elapsed() - load).as_secs_f64(),
        injected: disturber.counts(),
        redriven: redriven.into_iter().filter(|(_, count)| *count > 0).collect(),
        fates: report::fates(&books),
        wrong_answers: wrong.into_iter().flatten().collect(),
        unsettled: (motion != Motion::default()).then(|| motion.to_string()),
        verdict: books.balance(&claims),
    })
}

async fn buy(
    system: &System,
    disturber: &Arc<Disturber>,
    number: usize,
    purchase: &Purchase,
    customers: &[String],
    products: &[String],
) -> Result<Bought> {
    let person = match customers.get(purchase.customer) {
        Some(id) => system.customer_again(id),
        None => system.customer().await,
    };
    let curse = match purchase.curse {
        Some(curse) => Some(disturber.curse(&person.id, curse).await?),
        None => None,
    };
    let buyer = Buyer {
        system,
        person,
        purchase,
        products,
        key: format!("purchase {number}"),
    };
    let bought = buyer.buy().await;
    if let Some(curse) = curse {
        let disturber = Arc::clone(disturber);
        tokio::spawn(async move {
            sleep(CURSED_FOR).await;
            disturber.lift(curse).await
        });
    }
    Ok(bought)
}

/// Strikes each blow when so many orders have been sent.
async fn strike(plan: &Plan, disturber: &Disturber, sent: &AtomicUsize) -> Result<()> {
    for (at, blow) in &plan.blows {
        while sent.load(Ordering::Relaxed) < *at {
            sleep(Duration::from_millis(50)).await;
        }
        disturber.strike(*blow).await?;
    }
    Ok(())
}

fn ended(ears: &Ears) -> String {
    let ends = ears.ends();
    let number = |kind| ends.get(kind).copied().unwrap_or(0);
    format!(
        "{} completed, {} failed, {} cancelled",
        number("OrderCompleted"),
        number("OrderFailed"),
        number("OrderCancelled")
    )
}

fn tell(began: Instant, what: &str) {
    let seconds = began.elapsed().as_secs();
    eprintln!("  {:>3}:{:02}  {what}", seconds / 60, seconds % 60);
}
