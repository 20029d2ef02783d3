//! Delays the next delivery of a message whose mail or SMS was not sent.
//!
//! Without a delay, the queue's visibility timeout and maximum receive count would move a message to the
//! dead-letter queue after minutes. SES and SNS may be away for longer: the delays of a message that can
//! still succeed add up to more than an hour.

use std::time::Duration;

use aws_sdk_sqs::{Client, error::DisplayErrorContext};
use domain::Timestamp;
use lambda_shared::sqs::Message;

/// The delay after the first delivery that failed for a passing reason. It doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(30);

/// The longest delay after a failure: how late a mail can be when SES is back.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(15 * 60);

/// The delay of a message that fails again on every delivery. It soon reaches the dead-letter queue.
pub const PERMANENT_FAILURE_DELAY: Duration = Duration::from_secs(10);

/// The longest delay of a message that waits for its time. SQS accepts twelve hours from the delivery of the
/// message, which was some time ago.
const MAX_DEFERRAL: Duration = Duration::from_secs(11 * 3600);

/// The queue that delivers the messages.
#[derive(Clone, Debug)]
pub struct SourceQueue {
    client: Client,
    url: String,
}

impl SourceQueue {
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sets how long the queue waits before it delivers the message again. When that fails, the queue's
    /// visibility timeout applies.
    pub async fn delay_redelivery(&self, receipt_handle: &str, delay: Duration) {
        let seconds = i32::try_from(delay.as_secs()).expect("a delay is at most MAX_DEFERRAL");
        let changed = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(seconds)
            .send()
            .await;
        if let Err(error) = changed {
            let reason = DisplayErrorContext(error).to_string();
            tracing::warn!(reason, "the next delivery of the message could not be delayed");
        }
    }
}

/// The delay after the delivery number `message.receive_count` failed for a passing reason.
pub fn retry_delay(message: &Message) -> Duration {
    let doublings = message.receive_count.saturating_sub(1).min(16);
    (FIRST_RETRY_DELAY * 2_u32.pow(doublings)).min(MAX_RETRY_DELAY)
}

/// The delay of a message that waits until `until`. A message that waits longer than SQS permits is delivered
/// once in between.
pub fn deferral(now: Timestamp, until: Timestamp) -> Duration {
    // Rounded up: SQS counts in seconds, and an early delivery would have to wait again.
    let wait = (until - now).to_std().unwrap_or_default() + Duration::from_secs(1);
    wait.min(MAX_DEFERRAL)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn delay_after(receive_count: u32) -> Duration {
        retry_delay(&Message {
            body: String::new(),
            deadline: Timestamp::UNIX_EPOCH,
            receipt_handle: None,
            receive_count,
        })
    }

    /// `maxReceiveCount` of a queue in the deployed template.
    fn max_receive_count(queue: &str) -> u32 {
        let template = include_str!("../../../infrastructure/sam/template.yaml");
        let (_, queue) = template
            .split_once(&format!("\n  {queue}:\n"))
            .expect("the template declares the queue");
        let (_, count) = queue
            .split_once("maxReceiveCount: ")
            .expect("the queue has a redrive policy");
        let digits = count.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        digits.parse().unwrap()
    }

    #[test]
    fn delay_doubles_up_to_the_maximum() {
        let seconds = [0, 1, 2, 3, 5, 6, 100].map(|count| delay_after(count).as_secs());
        assert_eq!(seconds, [30, 30, 60, 120, 480, 900, 900]);
    }

    /// The last delivery has no delay after it. One more may be lost, for example to a process that dies: the
    /// queue's visibility timeout, which is shorter than any delay but the first, then replaces its delay.
    fn assert_deliveries_span_an_hour(deliveries: impl Iterator<Item = u32>) {
        let delays: Vec<Duration> = deliveries.map(delay_after).collect();
        let total: Duration = delays.iter().sum();
        let longest = *delays.iter().max().unwrap();
        assert!(
            total - longest >= Duration::from_secs(3600),
            "{total:?} without {longest:?}"
        );
    }

    #[test]
    fn deliveries_of_a_mail_span_an_hour_even_when_one_is_lost() {
        assert_deliveries_span_an_hour(1..max_receive_count("NotificationQueue"));
    }

    /// Quiet hours of twelve hours, with a change of the clock, take two deliveries. SNS can be away in the
    /// evening and in the morning, so the two may follow any other delivery.
    #[test]
    fn deliveries_of_an_sms_span_an_hour_before_or_after_quiet_hours() {
        let last = max_receive_count("SmsQueue");
        assert_deliveries_span_an_hour(3..last);
        assert_deliveries_span_an_hour(1..last - 2);
    }

    #[test]
    fn deferral_ends_after_the_time_and_within_the_limit_of_sqs() {
        let now = Timestamp::UNIX_EPOCH;
        let seconds = |wait: TimeDelta| deferral(now, now + wait).as_secs();
        assert_eq!(seconds(TimeDelta::milliseconds(1_500)), 2);
        assert_eq!(seconds(TimeDelta::minutes(10)), 601);
        assert_eq!(seconds(TimeDelta::hours(12)), 11 * 3600);
        assert_eq!(seconds(TimeDelta::hours(-1)), 1);
    }
}
