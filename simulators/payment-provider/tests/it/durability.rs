//! The server process: no outcome is lost when it is killed, and SIGTERM lets requests finish.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use futures::future::join_all;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::support::{ApiClient, ApiResponse};

/// The server on a free port. Dropping it kills the process.
struct ProviderProcess {
    child: Child,
    client: ApiClient,
}

impl ProviderProcess {
    fn start(data_dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_payment-provider"))
            .env("DATA_DIR", data_dir)
            .env("PORT", "0")
            .env("SLOW_SECONDS", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .next()
            .unwrap()
            .unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let client = ApiClient::new(format!("http://{}", line["address"].as_str().unwrap()));
        Self { child, client }
    }

    /// Sends SIGTERM and waits for the exit.
    fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap()
    }
}

impl Drop for ProviderProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats a request against the current_client process until it gets a response.
async fn retry_until_response(
    current_client: &watch::Receiver<ApiClient>,
    key: &str,
    path: &str,
    params: &[(&str, &str)],
) -> ApiResponse {
    loop {
        let client = current_client.borrow().clone();
        match client.try_post_with_key(key, path, params).await {
            // 409: the previous attempt is still in progress.
            Ok(response) if response.status != 409 => return response,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Creates and confirms one payment. Returns the response to the confirmation.
async fn create_and_confirm(
    order: usize,
    current_client: watch::Receiver<ApiClient>,
    step_sender: mpsc::UnboundedSender<()>,
) -> ApiResponse {
    let params = [
        ("amount", "1500"),
        ("currency", "jpy"),
        ("payment_method", "pm_card_visa"),
    ];
    let intent = retry_until_response(
        &current_client,
        &format!("{order}-create"),
        "/v1/payment_intents",
        &params,
    )
    .await;
    let _ = step_sender.send(());
    let path = format!("/v1/payment_intents/{}/confirm", intent.id());
    let charged = retry_until_response(&current_client, &format!("{order}-confirm"), &path, &[]).await;
    let _ = step_sender.send(());
    charged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_lose_no_outcome_and_repeat_no_charge() {
    const ORDERS: usize = 100;
    let data_dir = tempfile::tempdir().unwrap();
    let mut server = ProviderProcess::start(data_dir.path());
    let (client_sender, current_client) = watch::channel(server.client.clone());
    let (step_sender, mut completed_steps) = mpsc::unbounded_channel();
    let payments = tokio::spawn(join_all((0..ORDERS).map(|order| {
        tokio::spawn(create_and_confirm(
            order,
            current_client.clone(),
            step_sender.clone(),
        ))
    })));

    for _ in 0..4 {
        for _ in 0..ORDERS / 4 {
            completed_steps.recv().await.unwrap();
        }
        drop(server);
        server = ProviderProcess::start(data_dir.path());
        client_sender.send(server.client.clone()).unwrap();
    }

    let mut charged: Vec<Value> = payments
        .await
        .unwrap()
        .into_iter()
        .map(|response| response.unwrap().body)
        .collect();
    drop(server);
    let server = ProviderProcess::start(data_dir.path());
    let page = server.client.get("/v1/payment_intents?limit=100").await.body;
    assert_eq!(page["has_more"], false, "no order has two payments");
    let mut stored = page["data"].as_array().unwrap().clone();
    for list in [&mut charged, &mut stored] {
        list.sort_by_key(|intent| intent["id"].to_string());
    }
    assert_eq!(
        stored, charged,
        "every stored payment equals the response to its confirmation"
    );
    assert!(stored.iter().all(|intent| intent["status"] == "succeeded"));
}

#[tokio::test]
async fn sigterm_waits_for_a_charge_in_progress() {
    let data_dir = tempfile::tempdir().unwrap();
    let server = ProviderProcess::start(data_dir.path());
    let client = server.client.clone();
    let id = client.create_payment("pm_slow").await;
    let confirmation = client.start_slow_confirmation("confirm", &id).await;

    let stopped = tokio::task::spawn_blocking(|| server.terminate());
    assert_eq!(confirmation.await.status_and_state(), (200, "succeeded"));
    assert!(stopped.await.unwrap().success());

    let server = ProviderProcess::start(data_dir.path());
    let path = format!("/v1/payment_intents/{id}/confirm");
    let replayed = server.client.post_with_key("confirm", &path, &[]).await;
    assert_eq!(
        (replayed.status_and_state(), replayed.replayed),
        ((200, "succeeded"), true)
    );
}
