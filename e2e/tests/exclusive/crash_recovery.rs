//! Services killed with `kill -9` at critical moments finish their work after the restart.

use std::fs;

use domain::OrderId;
use e2e::{
    consistency::{Collector, Observations},
    process_control::ProcessControl,
    system::{ApiCaller, TestSystem, eventually, send},
};
use fault_injection::{NetworkFault, Rule, RuleId, Upstream};
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{await_quiescence::snapshot_when_quiescent, failure_report::assert_consistent};

/// The number of orders that are placed at the same time.
const CONCURRENT_ORDERS: usize = 6;

/// The stock of each test's product, in units.
const INITIAL_STOCK: i64 = 10;

/// The factor by which test systems shorten the saga's waits. See `xtask/src/ministack.rs`.
const TEST_WAIT_SCALE: f64 = 0.05;

/// The system with the saga's retry waits as long as in AWS, because a killed service has to restart
/// meanwhile, even on a busy machine. No other test uses the system.
async fn system_with_production_waits() -> TestSystem {
    let system = TestSystem::exclusive().await;
    set_saga_wait_scale(&system, 1.0).await;
    system
}

async fn set_saga_wait_scale(system: &TestSystem, scale: f64) {
    let url = format!("{}/_ministack/config", system.aws_endpoint_url);
    let config = json!({"stepfunctions._SFN_WAIT_SCALE": scale});
    let response = send(system.http.post(url).json(&config)).await.expect_status(200);
    assert_eq!(response["applied"], config);
}

/// Places [`CONCURRENT_ORDERS`] orders of one unit each.
async fn place_orders(system: &TestSystem, product: &str) -> Vec<(ApiCaller, OrderId)> {
    let place_order = async || {
        let customer = system.customer().await;
        let order_id = system.place_order(&customer, product, 1, "pm_card_visa").await;
        (customer, order_id)
    };
    join_all((0..CONCURRENT_ORDERS).map(|_| place_order())).await
}

/// Asserts that all orders complete exactly once and that the system is consistent afterwards.
async fn assert_all_completed(system: &TestSystem, product: &str, orders: &[(ApiCaller, OrderId)]) {
    for (customer, order_id) in orders {
        assert_eq!(
            system.wait_for_final_status(customer, *order_id).await["status"],
            "completed"
        );
    }
    set_saga_wait_scale(system, TEST_WAIT_SCALE).await;
    let collector = Collector::from_env().await.unwrap();
    let order_ids: Vec<OrderId> = orders.iter().map(|(_, order_id)| *order_id).collect();
    // Mails and the ends of the executions come after the orders' final status.
    let snapshot = snapshot_when_quiescent(&collector, &order_ids, &[product.to_owned()]).await;
    let report = snapshot.check_invariants(&Observations::default());
    assert_consistent(&report);
    assert_eq!(report.warnings, [], "{report}");
    assert_eq!(
        system.stock_quantities(product).await,
        (INITIAL_STOCK - i64::try_from(orders.len()).unwrap(), 0)
    );
}

async fn wait_for_hit(system: &TestSystem, rule: RuleId) {
    eventually("the fault to hit", async || {
        (system.faults.hits(rule).await.unwrap() > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn core_api_killed_between_write_and_publish() {
    let system = system_with_production_waits().await;
    let process_control = ProcessControl::from_env().unwrap();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    // core-api writes the order, but cannot publish its event.
    let cut = Rule::for_operation(Upstream::Aws, "AWSEvents.PutEvents", NetworkFault::Disconnect)
        .containing(&customer.id);
    let rule = system.faults.add_rule(&cut).await.unwrap();
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    wait_for_hit(&system, rule).await;
    let killed = process_control.kill("core-api").unwrap();
    system.faults.remove_rule(rule).await.unwrap();
    process_control
        .wait_for_restart("core-api", killed)
        .await
        .unwrap();
    assert_all_completed(&system, &lantern, &[(customer, order_id)]).await;
}

/// Kills stock-service while `fault` affects the statement that writes a batch. The statement contains the
/// batch's events, so the rule matches an event name.
async fn kill_stock_service_during_write(fault: NetworkFault) {
    let system = system_with_production_waits().await;
    let process_control = ProcessControl::from_env().unwrap();
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    let write = Rule::for_operation(Upstream::Postgres, "message", fault).containing("StockReserved");
    let rule = system.faults.add_rule(&write).await.unwrap();
    let orders = place_orders(&system, &lantern).await;
    wait_for_hit(&system, rule).await;
    let killed = process_control.kill("stock-service").unwrap();
    system.faults.remove_rule(rule).await.unwrap();
    process_control
        .wait_for_restart("stock-service", killed)
        .await
        .unwrap();
    assert_all_completed(&system, &lantern, &orders).await;
}

#[tokio::test]
async fn stock_service_killed_before_a_batch_is_written() {
    kill_stock_service_during_write(NetworkFault::Delay(10_000)).await;
}

#[tokio::test]
async fn stock_service_killed_after_a_batch_is_written() {
    kill_stock_service_during_write(NetworkFault::DropResponse).await;
}

#[tokio::test]
async fn postgres_killed_while_a_batch_is_written() {
    let system = system_with_production_waits().await;
    let process_control = ProcessControl::from_env().unwrap();
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    // Delay the write of a batch, so that the kill interrupts it.
    let slow = Rule::for_operation(Upstream::Postgres, "message", NetworkFault::Delay(2000))
        .containing("StockReserved");
    let rule = system.faults.add_rule(&slow.limit_hits(1)).await.unwrap();
    let orders = place_orders(&system, &lantern).await;
    wait_for_hit(&system, rule).await;
    let killed = process_control.kill("postgres").unwrap();
    process_control
        .wait_for_restart("postgres", killed)
        .await
        .unwrap();
    system.faults.remove_rule(rule).await.unwrap();
    assert_all_completed(&system, &lantern, &orders).await;
}

#[tokio::test]
async fn all_function_processes_killed_three_times() {
    let system = system_with_production_waits().await;
    let process_control = ProcessControl::from_env().unwrap();
    let lantern = system.create_product(7500, INITIAL_STOCK).await;
    let local_aws = process_control.pid("ministack").unwrap();
    let orders = place_orders(&system, &lantern).await;
    for _ in 0..3 {
        let functions = eventually("running function processes", async || {
            Some(descendants(local_aws)).filter(|functions| !functions.is_empty())
        })
        .await;
        for function in functions {
            // The process may already have exited, or died with its parent.
            let _ = kill_process(function, Signal::KILL);
        }
    }
    assert_all_completed(&system, &lantern, &orders).await;
}

/// All child processes of a process, recursively.
fn descendants(root: Pid) -> Vec<Pid> {
    let children = |parent: Pid| -> Vec<Pid> {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
            .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    };
    let mut found = children(root);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let grandchildren = children(*pid);
        found.extend(grandchildren);
        next += 1;
    }
    found
}
