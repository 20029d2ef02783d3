//! The messages from a client to the server, as `docs/asyncapi.yaml` describes them: parsing, and the bounds
//! of what a message may contain.

use domain::{OrderId, ProductId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The maximum size of a message, in bytes. API Gateway itself accepts 128 KiB.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// The maximum number of orders, and that of products, in a message.
pub const MAX_ENTRIES: usize = 20;

/// The maximum length of a `request_id`, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// The maximum length of a parser's message in a rejection, in characters. It can quote the client's message.
const MAX_PARSER_MESSAGE_CHARS: usize = 200;

#[derive(Debug, PartialEq, Eq)]
pub struct ClientMessage {
    pub action: Action,
    /// Chosen by the client. The response repeats it.
    pub request_id: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends what the client has missed of these orders, and ends their muting. Watches these products.
    Subscribe {
        orders: Vec<OrderSubscription>,
        products: Vec<ProductSubscription>,
    },
    /// Mutes these orders, and ends the watching of these products.
    Unsubscribe {
        orders: Vec<OrderId>,
        products: Vec<ProductId>,
    },
    Ping,
}

/// An order that a client follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderSubscription {
    pub order_id: OrderId,
    /// The sequence number of the newest change that the client has seen; 0 if it has seen none.
    #[serde(default)]
    pub last_sequence: u32,
}

/// A product that a client watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductSubscription {
    pub product_id: ProductId,
    /// The version of the newest level that the client has received; 0 if it has received none.
    #[serde(default)]
    pub last_version: i64,
}

/// Why a message was refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    pub code: &'static str,
    /// What is wrong and what to do.
    pub detail: String,
    pub request_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeFields {
    #[serde(default)]
    orders: Vec<OrderSubscription>,
    #[serde(default)]
    products: Vec<ProductSubscription>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsubscribeFields {
    #[serde(default)]
    orders: Vec<OrderId>,
    #[serde(default)]
    products: Vec<ProductId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingFields {}

/// Parses a message. `is_binary`: the client sent a binary message.
pub fn parse(body: &str, is_binary: bool) -> Result<ClientMessage, Rejection> {
    if is_binary {
        return Err(rejection(
            "binary-message",
            "A message must be a text message with a JSON object.",
        ));
    }
    if body.len() > MAX_MESSAGE_BYTES {
        return Err(rejection(
            "message-too-large",
            format!("A message can have at most {MAX_MESSAGE_BYTES} bytes. Send several smaller messages."),
        ));
    }
    let mut members: Map<String, Value> = serde_json::from_str(body).map_err(|_| {
        rejection(
            "malformed-message",
            r#"A message must be a JSON object such as {"action":"ping"}."#,
        )
    })?;
    let request_id = take_request_id(&mut members)?;
    let with_id = |rejection: Rejection| Rejection {
        request_id: request_id.clone(),
        ..rejection
    };
    let action = parse_action(members).map_err(with_id)?;
    Ok(ClientMessage { action, request_id })
}

fn take_request_id(members: &mut Map<String, Value>) -> Result<Option<String>, Rejection> {
    match members.remove("request_id") {
        None => Ok(None),
        Some(Value::String(id)) if id.len() <= MAX_REQUEST_ID_BYTES => Ok(Some(id)),
        Some(_) => Err(rejection(
            "invalid-message",
            format!("`request_id` must be a string of at most {MAX_REQUEST_ID_BYTES} bytes."),
        )),
    }
}

fn parse_action(mut members: Map<String, Value>) -> Result<Action, Rejection> {
    match members.remove("action").as_ref().and_then(Value::as_str) {
        Some("subscribe") => {
            let SubscribeFields { orders, products } = parse_fields(members)?;
            require_bounded(orders.len(), products.len())?;
            Ok(Action::Subscribe { orders, products })
        }
        Some("unsubscribe") => {
            let UnsubscribeFields { orders, products } = parse_fields(members)?;
            require_bounded(orders.len(), products.len())?;
            Ok(Action::Unsubscribe { orders, products })
        }
        Some("ping") => parse_fields::<PingFields>(members).map(|_| Action::Ping),
        _ => Err(rejection(
            "unknown-action",
            "`action` must be `subscribe`, `unsubscribe` or `ping`.",
        )),
    }
}

fn parse_fields<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Rejection> {
    serde_json::from_value(Value::Object(members)).map_err(|error| {
        let message: String = error.to_string().chars().take(MAX_PARSER_MESSAGE_CHARS).collect();
        rejection("invalid-message", format!("The message is invalid: {message}."))
    })
}

fn require_bounded(orders: usize, products: usize) -> Result<(), Rejection> {
    if orders + products == 0 {
        return Err(rejection(
            "invalid-message",
            "The message must name an order in `orders` or a product in `products`.",
        ));
    }
    if orders.max(products) <= MAX_ENTRIES {
        return Ok(());
    }
    Err(rejection(
        "invalid-message",
        format!(
            "`orders` and `products` can have at most {MAX_ENTRIES} entries each. Send several messages."
        ),
    ))
}

fn rejection(code: &'static str, detail: impl Into<String>) -> Rejection {
    Rejection {
        code,
        detail: detail.into(),
        request_id: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PRODUCT: &str = "019a0000-0000-7000-8000-000000000002";
    const ORDER: &str = "019a0000-0000-7000-8000-000000000001";

    fn parse_json(message: Value) -> Result<ClientMessage, Rejection> {
        parse(&message.to_string(), false)
    }

    fn code(body: &str) -> &'static str {
        parse(body, false).unwrap_err().code
    }

    #[test]
    fn parses_every_action() {
        let order_id = ORDER.parse().unwrap();
        let message = parse_json(json!({
            "action": "subscribe", "request_id": "a",
            "orders": [{"order_id": ORDER, "last_sequence": 2}, {"order_id": ORDER}],
        }));
        let subscription = |last_sequence| OrderSubscription {
            order_id,
            last_sequence,
        };
        let expected = ClientMessage {
            action: Action::Subscribe {
                orders: vec![subscription(2), subscription(0)],
                products: Vec::new(),
            },
            request_id: Some("a".to_owned()),
        };
        assert_eq!(message, Ok(expected));
        let product_id = PRODUCT.parse().unwrap();
        let message = parse_json(json!({
            "action": "subscribe", "products": [{"product_id": PRODUCT, "last_version": 7}],
        }));
        let expected = Action::Subscribe {
            orders: Vec::new(),
            products: vec![ProductSubscription {
                product_id,
                last_version: 7,
            }],
        };
        assert_eq!(message.unwrap().action, expected);
        let message = parse_json(json!({"action": "unsubscribe", "orders": [ORDER], "products": [PRODUCT]}));
        let expected = Action::Unsubscribe {
            orders: vec![order_id],
            products: vec![product_id],
        };
        assert_eq!(message.unwrap().action, expected);
        let message = parse_json(json!({"action": "ping"})).unwrap();
        assert_eq!(message.action, Action::Ping);
    }

    #[test]
    fn refuses_what_is_no_bounded_json_object() {
        for body in ["", "ping", "[]", "null", r#"{"action":"ping""#, "\u{fffd}\0"] {
            assert_eq!(code(body), "malformed-message", "{body}");
        }
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            code(&format!(r#"{{"action":{}}}"#, nested(1000))),
            "malformed-message"
        );
        assert_eq!(code(&nested(65_536)), "message-too-large");
        assert_eq!(code(&"é".repeat(MAX_MESSAGE_BYTES / 2 + 1)), "message-too-large");
        assert_eq!(
            parse(r#"{"action":"ping"}"#, true).unwrap_err().code,
            "binary-message"
        );
    }

    #[test]
    fn refuses_unknown_actions_and_fields() {
        for message in [json!({}), json!({"action": 1}), json!({"action": "$connect"})] {
            assert_eq!(
                parse_json(message.clone()).unwrap_err().code,
                "unknown-action",
                "{message}"
            );
        }
        let many = vec![json!({"order_id": ORDER}); MAX_ENTRIES + 1];
        let many_products = vec![json!({"product_id": PRODUCT}); MAX_ENTRIES + 1];
        for message in [
            json!({"action": "ping", "orders": []}),
            json!({"action": "ping", "request_id": 1}),
            json!({"action": "ping", "request_id": "x".repeat(65)}),
            json!({"action": "subscribe"}),
            json!({"action": "subscribe", "orders": []}),
            json!({"action": "subscribe", "orders": many}),
            json!({"action": "subscribe", "products": []}),
            json!({"action": "subscribe", "orders": [{"order_id": ORDER}], "products": many_products}),
            json!({"action": "subscribe", "products": [PRODUCT]}),
            json!({"action": "subscribe", "products": [{"product_id": PRODUCT, "last_version": "1"}]}),
            json!({"action": "unsubscribe", "products": ["1"]}),
            json!({"action": "subscribe", "orders": [{"order_id": "1"}]}),
            json!({"action": "subscribe", "orders": [{"order_id": ORDER, "last_sequence": -1}]}),
            json!({"action": "subscribe", "orders": [{"order_id": ORDER, "user_id": ORDER}]}),
            json!({"action": "unsubscribe", "orders": [1]}),
        ] {
            assert_eq!(
                parse_json(message.clone()).unwrap_err().code,
                "invalid-message",
                "{message}"
            );
        }
    }

    #[test]
    fn rejection_repeats_the_request_id_and_bounds_the_parsers_message() {
        let order_id = "x".repeat(3000);
        let rejected = parse_json(json!({
            "action": "subscribe", "request_id": "a", "orders": [{order_id: 1}],
        }))
        .unwrap_err();
        assert_eq!(rejected.request_id.as_deref(), Some("a"));
        assert!(rejected.detail.len() < 300, "{}", rejected.detail);
    }
}
