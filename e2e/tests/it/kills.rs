//! Programs killed with `kill -9` at the worst moment: whatever they were at comes to its end after the restart.

use std::{fs, time::Duration};

use domain::OrderId;
use e2e::{
    books::{Reader, Verdict},
    supervised::Supervised,
    system::{Person, System, eventually, send},
};
use faults::{Rule, RuleId, Upstream, WireFault};
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// How many order at the same time.
const BUYERS: usize = 6;

/// Pieces of each test's product.
const PIECES: i64 = 10;

/// How much shorter than in AWS the saga's waits are in the systems of tests. See `xtask/src/ministack.rs`.
const SHORTENED: f64 = 0.05;

/// Lets the saga wait between its attempts as long as it does in AWS: what is killed has to come back meanwhile, on a
/// machine that is busy. No other test runs.
async fn wait_as_in_aws() -> System {
    let system = System::alone().await;
    waits(&system, 1.0).await;
    system
}

async fn waits(system: &System, scale: f64) {
    let url = format!("{}/_ministack/config", system.aws_endpoint);
    let config = json!({"stepfunctions._SFN_WAIT_SCALE": scale});
    let answer = send(system.http.post(url).json(&config)).await.expect(200);
    assert_eq!(answer["applied"], config);
}

/// Some who order one piece each.
async fn buyers(system: &System, product: &str) -> Vec<(Person, OrderId)> {
    let buy = async || {
        let customer = system.customer().await;
        let order_id = system.order(&customer, product, 1, "pm_card_visa").await;
        (customer, order_id)
    };
    join_all((0..BUYERS).map(|_| buy())).await
}

/// All of them are served, once, and the books balance.
async fn all_are_served(system: &System, product: &str, orders: &[(Person, OrderId)]) {
    for (customer, order_id) in orders {
        assert_eq!(system.settled(customer, *order_id).await["status"], "completed");
    }
    waits(system, SHORTENED).await;
    assert_eq!(
        system.stock(product).await,
        (PIECES - i64::try_from(orders.len()).unwrap(), 0)
    );
    let reader = Reader::from_environment().await.unwrap();
    let order_ids: Vec<OrderId> = orders.iter().map(|(_, order_id)| *order_id).collect();
    // Mails and the last runs come after the end; what never comes is told by the verdict.
    let mut verdict: Option<Verdict> = None;
    for _ in 0..240 {
        let balanced = reader.read().await.unwrap().of(&order_ids).balance(&[]);
        if balanced.is_balanced() {
            assert_eq!(balanced.notes, [], "{balanced}");
            return;
        }
        verdict = Some(balanced);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{}", verdict.unwrap());
}

async fn hit(system: &System, rule: RuleId) {
    eventually("the fault to hit", async || {
        (system.faults.hits(rule).await.unwrap() > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn core_api_between_the_write_and_the_publish() {
    let system = wait_as_in_aws().await;
    let supervised = Supervised::from_environment().unwrap();
    let customer = system.customer().await;
    let lantern = system.product(7500, PIECES).await;
    // The order is written, and its event does not get out.
    let cut = Rule::request(Upstream::Aws, "AWSEvents.PutEvents", WireFault::Cut).mentioning(&customer.id);
    let rule = system.faults.set(&cut).await.unwrap();
    let order_id = system.order(&customer, &lantern, 1, "pm_card_visa").await;
    hit(&system, rule).await;
    let killed = supervised.kill("core-api").unwrap();
    system.faults.lift(rule).await.unwrap();
    supervised.back("core-api", killed).await.unwrap();
    all_are_served(&system, &lantern, &[(customer, order_id)]).await;
}

/// Kills stock-service while PostgreSQL has, or has not, got the statement that writes a batch. It carries the batch's
/// events, so it names them.
async fn stock_service_at_the_write(fault: WireFault) {
    let system = wait_as_in_aws().await;
    let supervised = Supervised::from_environment().unwrap();
    let lantern = system.product(7500, PIECES).await;
    let write = Rule::request(Upstream::Postgres, "message", fault).mentioning("StockReserved");
    let rule = system.faults.set(&write).await.unwrap();
    let orders = buyers(&system, &lantern).await;
    hit(&system, rule).await;
    let killed = supervised.kill("stock-service").unwrap();
    system.faults.lift(rule).await.unwrap();
    supervised.back("stock-service", killed).await.unwrap();
    all_are_served(&system, &lantern, &orders).await;
}

#[tokio::test]
async fn stock_service_in_the_middle_of_a_batch() {
    stock_service_at_the_write(WireFault::Delay(10_000)).await;
}

#[tokio::test]
async fn stock_service_after_a_batch_and_before_the_answer() {
    stock_service_at_the_write(WireFault::LoseAnswer).await;
}

#[tokio::test]
async fn postgres_under_orders() {
    let system = wait_as_in_aws().await;
    let supervised = Supervised::from_environment().unwrap();
    let lantern = system.product(7500, PIECES).await;
    // A batch is being written.
    let slow =
        Rule::request(Upstream::Postgres, "message", WireFault::Delay(2000)).mentioning("StockReserved");
    let rule = system.faults.set(&slow.times(1)).await.unwrap();
    let orders = buyers(&system, &lantern).await;
    hit(&system, rule).await;
    let killed = supervised.kill("postgres").unwrap();
    supervised.back("postgres", killed).await.unwrap();
    system.faults.lift(rule).await.unwrap();
    all_are_served(&system, &lantern, &orders).await;
}

#[tokio::test]
async fn every_process_of_every_function_three_times() {
    let system = wait_as_in_aws().await;
    let supervised = Supervised::from_environment().unwrap();
    let lantern = system.product(7500, PIECES).await;
    let local_aws = supervised.process("ministack").unwrap();
    let orders = buyers(&system, &lantern).await;
    for _ in 0..3 {
        let functions = eventually("functions at work", async || {
            Some(descendants(local_aws)).filter(|functions| !functions.is_empty())
        })
        .await;
        for function in functions {
            // It may have ended by itself, or with the one that had started it.
            let _ = kill_process(function, Signal::KILL);
        }
    }
    all_are_served(&system, &lantern, &orders).await;
}

/// The processes that a process has started, and those that they have.
fn descendants(of: Pid) -> Vec<Pid> {
    let children = |parent: Pid| -> Vec<Pid> {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
            .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    };
    let mut found = children(of);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let more = children(*pid);
        found.extend(more);
        next += 1;
    }
    found
}
