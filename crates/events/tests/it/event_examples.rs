//! Every event type of the crate, each with an example that sets all optional fields.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use domain::{
    Currency, EventId, FailureReason, OrderId, PaymentId, ProductId, Quantity, Timestamp, UserId,
    clock::truncate_to_micros,
};
use events::{
    Envelope, EventBridgeEvent, EventData, OutboxEvent, eventbridge::EventParseError, order::*, payment::*,
    product::*, stock::*, user::*,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::schema_files;

/// An event type, its example and its parser.
pub struct EventType {
    pub source: &'static str,
    pub detail_type: &'static str,
    pub version: u32,
    /// The example in the form of EventBridge's `detail`.
    pub example: Value,
    /// Parses a `detail` as a consumer does; the error is the parser's message.
    pub parse: fn(&Value) -> Result<(), String>,
}

impl EventType {
    fn with_example<D: EventData>(data: D) -> Self {
        let envelope = Envelope {
            event_id: EventId(id(1)),
            schema_version: D::SCHEMA_VERSION,
            occurred_at: at(),
            correlation_id: id(2),
            causation_id: Some(id(3)),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
                .parse()
                .unwrap(),
            data,
        };
        Self {
            source: D::SOURCE,
            detail_type: D::DETAIL_TYPE,
            version: D::SCHEMA_VERSION,
            example: serde_json::from_str(&OutboxEvent::from(&envelope).detail).unwrap(),
            parse: parse_detail::<D>,
        }
    }

    /// The detail type in kebab case.
    pub fn schema_name(&self) -> String {
        let mut name = String::new();
        for character in self.detail_type.chars() {
            if character.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(character.to_ascii_lowercase());
        }
        name
    }
}

fn parse_detail<D: EventData>(detail: &Value) -> Result<(), String> {
    let body = json!({ "source": D::SOURCE, "detail-type": D::DETAIL_TYPE, "detail": detail });
    match EventBridgeEvent::<D>::parse(&body.to_string()) {
        Ok(_) => Ok(()),
        Err(EventParseError::Malformed { source, .. }) => Err(source.to_string()),
        Err(other) => Err(other.to_string()),
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0193_4c2e_8f00_7000_8000_0000_0000_0000 + n)
}

fn at() -> Timestamp {
    truncate_to_micros("2026-11-21T08:15:30.123456Z".parse().unwrap())
}

/// All event types of the crate.
pub fn all() -> Vec<EventType> {
    let (order_id, user_id, product_id) = (OrderId(id(10)), UserId(id(11)), ProductId(id(12)));
    let payment_id = PaymentId("pi_3QK8".to_owned());
    let (currency, amount) = (Currency::JPY, 15_000);
    let reserved = || {
        vec![ReservedItem {
            product_id,
            quantity: 2,
        }]
    };
    let snapshot = || ProductSnapshot {
        product_id,
        version: 3,
        name: "Paper lantern".to_owned(),
        description: "Washi on bamboo, 30 cm.".to_owned(),
        translations: BTreeMap::from([(
            "ja".to_owned(),
            Translation {
                name: "提灯".to_owned(),
                description: "竹と和紙、30センチ。".to_owned(),
            },
        )]),
        price: 7_500,
        currency,
        category: "lanterns".to_owned(),
        image_url: Some("https://images.matsuri.dev/lantern.webp".to_owned()),
    };
    vec![
        EventType::with_example(OrderCreated {
            order_id,
            user_id,
            currency,
            total_amount: amount,
            items: vec![OrderLine {
                product_id,
                product_name: "Paper lantern".to_owned(),
                quantity: Quantity::new(2).unwrap(),
                price: 7_500,
            }],
            payment_method: "pm_card_visa".to_owned(),
            created_at: at(),
        }),
        EventType::with_example(OrderCompleted {
            order_id,
            user_id,
            currency,
            total_amount: amount,
            completed_at: at(),
        }),
        EventType::with_example(OrderFailed {
            order_id,
            user_id,
            reason: FailureReason::InsufficientStock,
            failed_at: at(),
        }),
        EventType::with_example(OrderCancelled {
            order_id,
            user_id,
            cancelled_at: at(),
        }),
        EventType::with_example(PaymentActionCompleted {
            order_id,
            user_id,
            restarts: 1,
        }),
        EventType::with_example(PaymentProcessed {
            order_id,
            user_id,
            payment_id: payment_id.clone(),
            amount,
            currency,
        }),
        EventType::with_example(PaymentRefunded {
            order_id,
            user_id,
            payment_id,
            amount,
            currency,
        }),
        EventType::with_example(StockReserved {
            reservation_id: id(10),
            items: reserved(),
            expires_at: Some(at()),
        }),
        EventType::with_example(StockReleased {
            reservation_id: id(10),
            items: reserved(),
            cause: ReleaseCause::Released,
        }),
        EventType::with_example(StockUpdated {
            product_id,
            quantity: 98,
            reserved: 1,
            available: 97,
            delta: -2,
            cause: UpdateCause::Sale,
            reference_id: id(10),
        }),
        EventType::with_example(StockLow {
            product_id,
            available: 9,
            threshold: 10,
        }),
        EventType::with_example(StockAdjustmentRequested {
            adjustment_id: id(13),
            product_id,
            delta: -3,
            reason: "Broken in the warehouse.".to_owned(),
        }),
        EventType::with_example(ProductCreated(snapshot())),
        EventType::with_example(ProductUpdated(snapshot())),
        EventType::with_example(ProductDeleted {
            product_id,
            version: 4,
        }),
        EventType::with_example(UserTokensRevoked {
            user_id: UserId(id(10)),
            tokens_valid_from: at(),
        }),
        EventType::with_example(UserRegistered {
            user_id,
            registered_at: at(),
        }),
    ]
}

/// [`all`] is written by hand; the test compares its length with the number of implementations in the source.
#[test]
fn all_lists_every_event_type() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let texts = fs::read_dir(source)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let implemented: usize = texts.map(|text| text.matches("EventData for ").count()).sum();
    assert_eq!(all().len(), implemented);
}

#[test]
fn events_and_schemas_match_one_to_one() {
    let mut expected: BTreeSet<String> = all().iter().map(EventType::schema_name).collect();
    expected.insert("envelope".to_owned());
    assert_eq!(schema_files::names_in("schemas"), expected);
}
