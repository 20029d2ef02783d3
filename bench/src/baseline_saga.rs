//! The baseline of order latency: the same bus, queue and state machine with functions that do nothing.

use anyhow::ensure;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use chrono::SecondsFormat;
use domain::{Timestamp, ids::uuid_v7};
use serde_json::json;

use crate::{baseline_stack::BaselineStack, context::Context};

pub const STATE_MACHINE_NAME: &str = "baseline-saga";

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
        let stack = BaselineStack {
            name: STATE_MACHINE_NAME,
            template: include_str!("../baseline-saga/template.yaml"),
            files: &[(
                "order-saga.asl.json",
                include_str!("../../step-functions/order-saga.asl.json"),
            )],
            executables: &["baseline_starter", "baseline_step"],
            parameters: &[],
        };
        stack.deploy(context).await?;
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
