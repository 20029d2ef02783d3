//! The program itself: killed in the middle of its work, and stopped in good order.

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

/// The program on a free port; killed when dropped.
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

    /// Asks it to stop, as a supervisor does.
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

/// Asks whatever program runs just now until one answers.
async fn retry_until_response(
    current: &watch::Receiver<ApiClient>,
    key: &str,
    path: &str,
    params: &[(&str, &str)],
) -> ApiResponse {
    loop {
        let client = current.borrow().clone();
        match client.try_post_with_key(key, path, params).await {
            // The attempt before this one may still be at work.
            Ok(answer) if answer.status != 409 => return answer,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Pays for one order, and says what was answered to its confirmation.
async fn create_and_confirm(
    order: usize,
    current: watch::Receiver<ApiClient>,
    done: mpsc::UnboundedSender<()>,
) -> ApiResponse {
    let wish = [
        ("amount", "1500"),
        ("currency", "jpy"),
        ("payment_method", "pm_card_visa"),
    ];
    let intent =
        retry_until_response(&current, &format!("{order}-create"), "/v1/payment_intents", &wish).await;
    let _ = done.send(());
    let path = format!("/v1/payment_intents/{}/confirm", intent.id());
    let charged = retry_until_response(&current, &format!("{order}-confirm"), &path, &[]).await;
    let _ = done.send(());
    charged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_no_answer_and_repeat_no_charge() {
    const ORDERS: usize = 100;
    let data_dir = tempfile::tempdir().unwrap();
    let mut program = ProviderProcess::start(data_dir.path());
    let (announce, current) = watch::channel(program.client.clone());
    let (done, mut steps) = mpsc::unbounded_channel();
    let paying =
        tokio::spawn(join_all((0..ORDERS).map(|order| {
            tokio::spawn(create_and_confirm(order, current.clone(), done.clone()))
        })));

    for _ in 0..4 {
        for _ in 0..ORDERS / 4 {
            steps.recv().await.unwrap();
        }
        drop(program);
        program = ProviderProcess::start(data_dir.path());
        announce.send(program.client.clone()).unwrap();
    }

    let mut charged: Vec<Value> = paying
        .await
        .unwrap()
        .into_iter()
        .map(|answer| answer.unwrap().body)
        .collect();
    drop(program);
    let program = ProviderProcess::start(data_dir.path());
    let page = program.client.get("/v1/payment_intents?limit=100").await.body;
    assert_eq!(page["has_more"], false, "no order was given two payments");
    let mut kept = page["data"].as_array().unwrap().clone();
    for list in [&mut charged, &mut kept] {
        list.sort_by_key(|intent| intent["id"].to_string());
    }
    assert_eq!(
        kept, charged,
        "every payment is as it was answered, with the charge that was answered"
    );
    assert!(kept.iter().all(|intent| intent["status"] == "succeeded"));
}

#[tokio::test]
async fn sigterm_lets_a_payment_finish() {
    let data_dir = tempfile::tempdir().unwrap();
    let program = ProviderProcess::start(data_dir.path());
    let client = program.client.clone();
    let id = client.create_payment("pm_slow").await;
    let confirmation = client.start_slow_confirmation("confirm", &id).await;

    let stopped = tokio::task::spawn_blocking(|| program.terminate());
    assert_eq!(confirmation.await.status_and_state(), (200, "succeeded"));
    assert!(stopped.await.unwrap().success());

    let program = ProviderProcess::start(data_dir.path());
    let path = format!("/v1/payment_intents/{id}/confirm");
    let kept = program.client.post_with_key("confirm", &path, &[]).await;
    assert_eq!(
        (kept.status_and_state(), kept.replayed),
        ((200, "succeeded"), true)
    );
}
