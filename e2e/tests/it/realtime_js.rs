//! The client library for JavaScript (`clients/realtime-js`) against the running system, and its own tests.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use domain::OrderId;
use e2e::system::{ApiCaller, TestSystem};
use serde_json::Value;

fn library() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/realtime-js").into()
}

async fn run_node(system: &TestSystem, caller: &ApiCaller, arguments: Vec<String>) -> Output {
    let mut command = Command::new("node");
    command
        .args(["--experimental-websocket", "--no-warnings"])
        .args(arguments)
        .current_dir(library())
        .env("HTTP_API_URL", &system.gateway_url)
        .env("ACCESS_TOKEN", &caller.token)
        .stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await
        .unwrap()
        .expect("Node.js 20.10 or later must be installed")
}

/// The changes that the example prints, one JSON object a line.
async fn watch(system: &TestSystem, caller: &ApiCaller, order_id: OrderId) -> (bool, Vec<Value>) {
    let arguments = vec![
        "examples/watch.js".to_owned(),
        "--json".to_owned(),
        order_id.to_string(),
    ];
    let output = run_node(system, caller, arguments).await;
    let lines = String::from_utf8(output.stdout).unwrap();
    let changes = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (output.status.success(), changes)
}

#[tokio::test]
async fn unit_tests_of_the_library_pass() {
    let system = TestSystem::shared();
    let caller = system.service_caller();
    let output = run_node(
        &system,
        &caller,
        vec!["--test".to_owned(), "test/client.test.js".to_owned()],
    )
    .await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test]
async fn library_follows_an_order_to_its_end() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    let (success, changes) = watch(&system, &customer, order_id).await;
    assert!(success, "{changes:?}");
    let numbers: Vec<u64> = changes
        .iter()
        .map(|change| change["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4], "{changes:?}");
    assert_eq!(changes[3]["status"], "completed");

    let (success, changes) = watch(&system, &system.customer().await, order_id).await;
    assert_eq!(
        (success, changes.len()),
        (false, 0),
        "another customer sees nothing"
    );
}

#[tokio::test]
async fn library_passes_on_the_levels_of_a_product() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let product = system.create_product(900, 2).await;
    let script = format!(
        "import {{ RealtimeClient }} from './src/index.js';
         const getTicket = async () => {{
           const headers = {{ authorization: `Bearer ${{process.env.ACCESS_TOKEN}}` }};
           const url = `${{process.env.HTTP_API_URL}}/v1/realtime/ticket`;
           return (await fetch(url, {{ method: 'POST', headers }})).json();
         }};
         const client = new RealtimeClient({{ getTicket }});
         client.watchStock('{product}', ({{ available }}) => {{
           console.log(available);
           if (available === 0) client.stop();
         }});
         client.start();
         for await (const _ of client.updates());"
    );
    let arguments = vec!["--input-type=module".to_owned(), "--eval".to_owned(), script];
    let watching = run_node(&system, &customer, arguments);
    let order = async {
        let buyer = system.customer().await;
        system.place_order(&buyer, &product, 2, "pm_card_visa").await;
    };
    let (output, ()) = tokio::join!(watching, order);
    let levels = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{levels}");
    assert_eq!(levels.lines().last(), Some("0"), "{levels}");
}

#[tokio::test]
async fn library_resumes_when_the_server_closes_its_connection() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system
        .place_order(&customer, &lantern, 1, "pm_card_threeDSecure2Required")
        .await;
    let action = system.wait_for_next_action(&customer, order_id).await;
    let watching = watch(&system, &customer, order_id);
    let interrupt = async {
        // Twice the connection ends, as after API Gateway's two hours.
        for _ in 0..2 {
            system.close_connections(&customer).await;
        }
        system.authenticate(&action, "approve").await;
    };
    let ((success, changes), ()) = tokio::join!(watching, interrupt);
    assert!(success, "{changes:?}");
    let numbers: Vec<u64> = changes
        .iter()
        .map(|change| change["sequence"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = (1..=numbers.last().copied().unwrap()).collect();
    assert_eq!(numbers, expected, "each change once and in order: {changes:?}");
    assert_eq!(changes.last().unwrap()["status"], "completed");
}
