//! The rate at which notification-sender sends mails.

use crate::template::resources;

/// notification-sender divides its rate by the number of its concurrent invocations. The number stands
/// twice, because a mapping holds text, which the local event source does not accept.
#[test]
fn mail_rate_is_divided_by_the_concurrency_of_the_event_source() {
    let resources = resources();
    let maximum = &resources["NotificationSenderSource"]["Properties"]["ScalingConfig"]["MaximumConcurrency"];
    assert!(maximum.is_u64(), "{maximum}");
    let variables = &resources["NotificationSender"]["Properties"]["Environment"]["Variables"];
    assert_eq!(variables["CONCURRENT_INVOCATIONS"], maximum.to_string());
}
