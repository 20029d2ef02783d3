//! Which events reach the subscribers of the topic `order-notifications`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::template::{of_type, one_or_more, referenced_id, resources};

const RULE: &str = include_str!("../../../events/rules/notification-rule.json");

/// The detail types that the rule sends to the topic.
fn published_types() -> BTreeSet<String> {
    let rule: Value = serde_json::from_str(RULE).unwrap();
    let alternatives = rule["$or"].as_array().unwrap();
    alternatives
        .iter()
        .flat_map(|alternative| one_or_more(&alternative["detail-type"]))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_subscription_selects_events_that_the_rule_publishes() {
    let resources = resources();
    let published = published_types();
    let subscriptions = of_type(&resources, "AWS::SNS::Subscription");
    let of_topic = subscriptions.into_iter().filter(|(_, subscription)| {
        referenced_id(&subscription["Properties"]["TopicArn"]) == Some("OrderNotifications")
    });
    let mut queues = BTreeSet::new();
    for (id, subscription) in of_topic {
        let properties = &subscription["Properties"];
        assert_eq!(properties["FilterPolicyScope"], "MessageBody", "{id}");
        let selected = one_or_more(&properties["FilterPolicy"]["detail-type"]);
        assert!(!selected.is_empty(), "{id}");
        for detail_type in selected {
            assert!(published.contains(detail_type), "{id}: {detail_type}");
        }
        queues.extend(referenced_id(&properties["Endpoint"]).map(str::to_owned));
    }
    assert!(queues.contains("NotificationQueue") && queues.contains("SmsQueue"));
}

/// The senders would refuse any other event, which would end in the dead-letter queue.
#[test]
fn senders_receive_only_events_that_have_a_mail_and_an_sms() {
    let resources = resources();
    for id in ["NotificationSubscription", "SmsSubscription"] {
        assert_eq!(
            resources[id]["Properties"]["FilterPolicy"],
            json!({"detail-type": ["OrderCompleted", "OrderFailed", "OrderCancelled", "PaymentRefunded"]}),
            "{id}"
        );
    }
}

/// sms-sender reads events without SNS's envelope.
#[test]
fn sms_queue_receives_raw_messages() {
    assert_eq!(
        resources()["SmsSubscription"]["Properties"]["RawMessageDelivery"],
        true
    );
}

/// `sns:Publish` on all resources would include the topic `order-notifications`.
#[test]
fn sms_sender_publishes_to_no_topic() {
    let policy = &resources()["SmsSenderAccess"]["Properties"]["PolicyDocument"];
    let statements = policy["Statement"].as_array().unwrap();
    let denies = statements
        .iter()
        .filter(|statement| statement["Effect"] == "Deny");
    let denied: Vec<(&Value, &Value)> = denies
        .map(|statement| (&statement["Action"], &statement["Resource"]["Fn::Sub"]))
        .collect();
    assert_eq!(
        denied,
        [(&json!("sns:Publish"), &json!("arn:${AWS::Partition}:sns:*:*:*"))]
    );
}

/// Waiting for the end of quiet hours is no failure of the consumer.
#[test]
fn messages_may_wait_for_quiet_hours_without_an_alarm() {
    let resources = resources();
    let threshold = &resources["SmsQueueAgeAlarm"]["Properties"]["Threshold"];
    let longest_quiet_hours = (domain::QuietHours::MAX_HOURS + 1) * 3600;
    assert!(threshold.as_i64().unwrap() > longest_quiet_hours, "{threshold}");
}

/// Any other publisher could silence the mails of a customer.
#[test]
fn only_ses_publishes_to_the_topic_of_bounces() {
    let policy = &resources()["MailFeedbackTopicPolicy"]["Properties"]["PolicyDocument"];
    let statements = policy["Statement"].as_array().unwrap();
    let [statement] = &statements[..] else {
        panic!("{statements:?}")
    };
    assert_eq!(statement["Principal"], json!({"Service": "ses.amazonaws.com"}));
    let condition = &statement["Condition"]["StringEquals"];
    assert_eq!(condition["aws:SourceAccount"], json!({"Ref": "AWS::AccountId"}));
    let source = condition["aws:SourceArn"]["Fn::Sub"].as_str().unwrap();
    assert!(
        source.ends_with(":configuration-set/${MailConfigurationSet}"),
        "{source}"
    );
}
