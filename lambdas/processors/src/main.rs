//! The executable of the functions that process events and messages: `_HANDLER` selects the function.

use std::process::ExitCode;

use lambda_shared::FunctionRegistry;
use processors::{
    dead_letter_archiver, mail_feedback, notification_sender, order_processor, order_reconciler,
    receipt_writer, sms_sender,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("order-processor", order_processor::init)
        .register("order-reconciler", order_reconciler::init)
        .register("notification-sender", notification_sender::init)
        .register("sms-sender", sms_sender::init)
        .register("mail-feedback", mail_feedback::init)
        .register("dead-letter-archiver", dead_letter_archiver::init)
        .register("receipt-writer", receipt_writer::init)
        .run()
        .await
}
