//! The Lambda functions order-processor, order-reconciler, notification-sender, sms-sender,
//! mail-feedback, dead-letter-archiver and receipt-writer. All functions are one executable.

mod account_mail;
mod cancellation_mail;
mod cloudwatch_emf;
pub mod dead_letter_archiver;
pub mod mail;
pub mod mail_feedback;
pub mod mail_previews;
pub mod notification_sender;
mod order_mail;
pub mod order_processor;
pub mod order_reconciler;
mod order_saga;
mod order_sms;
pub mod receipt_writer;
mod redelivery;
mod saga_input;
mod sample_order;
mod send_rate;
pub mod sms_sender;
mod unsubscribe_links;

use chrono::TimeDelta;

/// How long idempotency records of processed events are kept. A queue keeps a message for 14 days and a
/// dead-letter queue for 14 more; Step Functions remembers the name of an execution for 90 days.
const RECORD_RETENTION: TimeDelta = TimeDelta::days(90);
