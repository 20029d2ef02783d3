//! The baseline of order latency: the same bus, queue and state machine with functions that do nothing.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use chrono::SecondsFormat;
use domain::{Timestamp, ids::uuid_v7};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::context::Context;

pub const STATE_MACHINE_NAME: &str = "baseline-saga";

/// The functions' executables. The template refers to folders with these names.
const EXECUTABLES: [&str; 2] = ["baseline_starter", "baseline_step"];

const DEPLOYMENT_BUCKET: &str = "matsuri-bench";

/// The deployed baseline saga.
#[derive(Debug)]
pub struct BaselineSaga {
    eventbridge: aws_sdk_eventbridge::Client,
}

impl BaselineSaga {
    /// Deploys the saga beside the system, with a rule on the same bus.
    ///
    /// # Errors
    /// Fails when the deployment fails.
    pub async fn deploy(context: &Context) -> anyhow::Result<Self> {
        let deploy_dir = TempDir::new()?;
        let template = deploy_dir.path().join("template.yaml");
        fs::write(&template, include_str!("../baseline-saga/template.yaml"))?;
        fs::write(
            deploy_dir.path().join("order-saga.asl.json"),
            include_str!("../../step-functions/order-saga.asl.json"),
        )?;
        for function in EXECUTABLES {
            let folder = deploy_dir.path().join(function);
            fs::create_dir(&folder)?;
            fs::copy(context.executable(function), folder.join("bootstrap"))
                .with_context(|| format!("{function} was not built"))?;
        }
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x86_64"
        };
        let packaged = deploy_dir.path().join("packaged.yaml");
        awslocal(&["s3", "mb", &format!("s3://{DEPLOYMENT_BUCKET}")]).await?;
        awslocal(&[
            "cloudformation",
            "package",
            "--template-file",
            path_as_str(&template)?,
            "--s3-bucket",
            DEPLOYMENT_BUCKET,
            "--output-template-file",
            path_as_str(&packaged)?,
        ])
        .await?;
        awslocal(&[
            "cloudformation",
            "deploy",
            "--stack-name",
            STATE_MACHINE_NAME,
            "--template-file",
            path_as_str(&packaged)?,
            "--capabilities",
            "CAPABILITY_IAM",
            "CAPABILITY_AUTO_EXPAND",
            "--parameter-overrides",
            &format!("Architecture={architecture}"),
        ])
        .await?;
        let bus = aws_sdk_eventbridge::Client::new(&aws_client::sdk_config().await);
        Ok(Self { eventbridge: bus })
    }

    /// Starts one execution by publishing an event that is as large as an `OrderCreated`. Returns the
    /// execution's name and when the event was published.
    ///
    /// # Errors
    /// Fails when the bus rejects the event.
    pub async fn start_execution(&self, context: &Context) -> anyhow::Result<(String, Timestamp)> {
        let published_at = context.clock.now();
        let [order_id, user_id, product_id, event_id] =
            std::array::from_fn(|_| uuid_v7(published_at).to_string());
        let created_at = published_at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let detail = json!({
            "event_id": event_id, "version": 1, "occurred_at": created_at, "correlation_id": order_id,
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "data": {
                "order_id": order_id, "user_id": user_id, "currency": "JPY", "total_amount": 1000,
                "items": [{
                    "product_id": product_id, "product_name": "Bench lantern", "quantity": 1, "price": 1000,
                }],
                "payment_method": "pm_card_visa", "created_at": created_at,
            },
        });
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name("ecommerce-event-bus")
            .source("bench.orders")
            .detail_type("OrderCreated")
            .detail(detail.to_string())
            .build();
        let output = self.eventbridge.put_events().entries(entry).send().await?;
        ensure!(output.failed_entry_count() == 0, "the bus rejected an event");
        Ok((order_id, published_at))
    }
}

/// Runs the command `awslocal`. The error contains its standard error.
///
/// # Errors
/// Fails when the command cannot be started or exits with an error.
pub async fn awslocal(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("awslocal")
        .args(arguments)
        .output()
        .await
        .context("cannot run awslocal")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "awslocal {} failed: {stderr}",
        arguments.join(" ")
    );
    Ok(())
}

fn path_as_str(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .context("the path of the temporary folder is not valid UTF-8")
}
