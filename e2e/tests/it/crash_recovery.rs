//! Programs killed with `kill -9` at the worst moment: whatever they were at comes to its end after the restart.

use std::{fs, time::Duration};

use domain::OrderId;
use e2e::{
    consistency::{Collector, ConsistencyReport},
    process_control::ProcessControl,
    system::{ApiCaller, TestSystem, eventually, send},
};
use fault_injection::{NetworkFault, Rule, RuleId, Upstream};
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// How many order at the same time.
const CONCURRENT_ORDERS: usize = 6;

/// Pieces of each test's product.
const INITIAL_STOCK: i64 = 10;

/// How much shorter than in AWS the saga's waits are in the systems of tests. See `xtask/src/ministack.rs`.
const TEST_WAIT_SCALE: f64 = 0.05;

/// Lets the saga wait between its attempts as long as it does in AWS: what is killed has to come back meanwhile, on a
/// machine that is busy. No other test runs.
async fn system_with_production_waits() -> TestSystem {
    let system = TestSystem::exclusive().await;
    set_saga_wait_scale(&system, 1.0).await;
    system
}

async fn set_saga_wait_scale(system: &TestSystem, scale: f64) {
    let url = format!("{}/_ministack/config", system.aws_endpoint_url);
    let config = json!({"stepfunctions._SFN_WAIT_SCALE": scale});
    let answer = send(system.http.post(url).json(&config)).await.expect_status(200);
    assert_eq!(answer["applied"], config);
}

/// Some who order one piece each.
async fn place_orders(system: &TestSystem, product: &str) -> Vec<(ApiCaller, OrderId)> {
    let buy = async || {
        let customer = system.customer().await;
        let order_id = system.place_order(&customer, product, 1, "pm_card_visa").await;
        (customer, order_id)
    };
    join_all((0..CONCURRENT_ORDERS).map(|_| buy())).await
}

/// All of them are served, once, and the books balance.
async fn assert_all_completed(system: &TestSystem, product: &str, orders: &[(ApiCaller, OrderId)]) {
    for (customer, order_id) in orders {
        assert_eq!(
            system.wait_for_final_status(customer, *order_id).await["status"],
            "completed"
        );
    }
    set_saga_wait_scale(system, TEST_WAIT_SCALE).await;
    assert_eq!(
        system.stock_quantities(product).await,
        (INITIAL_STOCK - i64::try_from(orders.len()).unwrap(), 0)
    );
    let reader = Collector::from_env().await.unwrap();
    let order_ids: Vec<OrderId> = orders.iter().map(|(_, order_id)| *order_id).collect();
    // Mails and the last runs come after the end; what never comes is told by the verdict.
    let mut verdict: Option<ConsistencyReport> = None;
    for _ in 0..240 {
        let balanced = reader
            .collect()
            .await
            .unwrap()
            .for_orders(&order_ids)
            .check_invariants(&[]);
        if balanced.is_consistent() {
            assert_eq!(balanced.notes, [], "{balanced}");
            return;
        }
        verdict = Some(balanced);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{}", verdict.unwrap());
}

async fn wait_for_hit(system: &TestSystem, rule: RuleId) {
    eventually("the fault to hit", async || {
        (system.faults.hits(rule).await.unwrap() > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn core_api_between_the_write_and_the_publish() {
    let system = system_with_production_waits().await;
    let supervised = ProcessControl::from_env().unwrap();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    // The order is written, and its event does not get out.
    let cut = Rule::for_operation(Upstream::Aws, "AWSEvents.PutEvents", NetworkFault::Disconnect)
        .containing(&customer.id);
    let rule = system.faults.add_rule(&cut).await.unwrap();
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    wait_for_hit(&system, rule).await;
    let killed = supervised.kill("core-api").unwrap();
    system.faults.remove_rule(rule).await.unwrap();
    supervised.wait_for_restart("core-api", killed).await.unwrap();
    assert_all_completed(&system, &lantern, &[(customer, order_id)]).await;
}

/// Kills stock-service while PostgreSQL has, or has not, got the statement that writes a batch. It carries the batch's
/// events, so it names them.
async fn kill_stock_service_during_write(fault: NetworkFault) {
    let system = system_with_production_waits().await;
    let supervised = ProcessControl::from_env().unwrap();
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    let write = Rule::for_operation(Upstream::Postgres, "message", fault).containing("StockReserved");
    let rule = system.faults.add_rule(&write).await.unwrap();
    let orders = place_orders(&system, &lantern).await;
    wait_for_hit(&system, rule).await;
    let killed = supervised.kill("stock-service").unwrap();
    system.faults.remove_rule(rule).await.unwrap();
    supervised
        .wait_for_restart("stock-service", killed)
        .await
        .unwrap();
    assert_all_completed(&system, &lantern, &orders).await;
}

#[tokio::test]
async fn stock_service_in_the_middle_of_a_batch() {
    kill_stock_service_during_write(NetworkFault::Delay(10_000)).await;
}

#[tokio::test]
async fn stock_service_after_a_batch_and_before_the_answer() {
    kill_stock_service_during_write(NetworkFault::DropResponse).await;
}

#[tokio::test]
async fn postgres_under_orders() {
    let system = system_with_production_waits().await;
    let supervised = ProcessControl::from_env().unwrap();
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    // A batch is being written.
    let slow = Rule::for_operation(Upstream::Postgres, "message", NetworkFault::Delay(2000))
        .containing("StockReserved");
    let rule = system.faults.add_rule(&slow.limit_hits(1)).await.unwrap();
    let orders = place_orders(&system, &lantern).await;
    wait_for_hit(&system, rule).await;
    let killed = supervised.kill("postgres").unwrap();
    supervised.wait_for_restart("postgres", killed).await.unwrap();
    system.faults.remove_rule(rule).await.unwrap();
    assert_all_completed(&system, &lantern, &orders).await;
}

#[tokio::test]
async fn every_process_of_every_function_three_times() {
    let system = system_with_production_waits().await;
    let supervised = ProcessControl::from_env().unwrap();
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    let local_aws = supervised.pid("ministack").unwrap();
    let orders = place_orders(&system, &lantern).await;
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
    assert_all_completed(&system, &lantern, &orders).await;
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
