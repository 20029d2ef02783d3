//! The executable of order-processor, order-reconciler, notification-sender, dead-letter-archiver and
//! receipt-writer: `_HANDLER` selects the function.

mod account_mail;
mod cloudwatch_emf;
mod dead_letter_archiver;
mod mail;
mod mail_queue;
mod notification_sender;
mod order_mail;
mod order_processor;
mod order_reconciler;
mod receipt_writer;
mod saga_input;
mod send_rate;

use std::process::ExitCode;

use chrono::TimeDelta;
use lambda_shared::FunctionRegistry;

/// How long idempotency records of processed events are kept. A queue keeps a message for 14 days and a
/// dead-letter queue for 14 more; Step Functions remembers the name of an execution for 90 days.
const RECORD_RETENTION: TimeDelta = TimeDelta::days(90);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("order-processor", order_processor::init)
        .register("order-reconciler", order_reconciler::init)
        .register("notification-sender", notification_sender::init)
        .register("dead-letter-archiver", dead_letter_archiver::init)
        .register("receipt-writer", receipt_writer::init)
        .run()
        .await
}
