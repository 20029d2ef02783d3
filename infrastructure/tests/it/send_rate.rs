//! The rates at which notification-sender and sms-sender send.

use crate::template::resources;

/// Both functions divide their rate by the number of their concurrent invocations. The number stands twice,
/// because a mapping holds text, which the local event source does not accept.
#[test]
fn rate_is_divided_by_the_concurrency_of_the_event_source() {
    let resources = resources();
    for function in ["NotificationSender", "SmsSender"] {
        let properties = &resources[function]["Properties"];
        let source = &properties["Events"]["Messages"]["Properties"];
        let maximum = &source["ScalingConfig"]["MaximumConcurrency"];
        assert!(maximum.is_u64(), "{function}: {maximum}");
        let variables = &properties["Environment"]["Variables"];
        assert_eq!(
            variables["CONCURRENT_INVOCATIONS"],
            maximum.to_string(),
            "{function}"
        );
    }
}
