//! The processors family: what stands behind the queues, and what looks after them. `_HANDLER` says which function this process is.

mod account_mail;
mod cloudwatch_emf;
mod notification_sender;
mod order_mail;
mod order_processor;
mod order_reconciler;
mod saga_input;

use std::process::ExitCode;

use chrono::TimeDelta;
use lambda_shared::FunctionRegistry;

/// How long it is known that an event was dealt with. A queue keeps a message for 14 days, a dead-letter queue
/// for 14 more, and Step Functions knows an execution's name for 90.
const RECORD_RETENTION: TimeDelta = TimeDelta::days(90);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("order-processor", order_processor::init)
        .register("order-reconciler", order_reconciler::init)
        .register("notification-sender", notification_sender::init)
        .run()
        .await
}
