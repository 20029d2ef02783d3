//! The patterns in `events/rules` name events that exist, each with the source that sends it.

use serde_json::{Map, Value, json};

use crate::{
    event_examples::{self, EventType},
    schema_files,
};

/// What is wrong with an EventBridge pattern. Empty: it can match, and nothing in it is idle.
fn pattern_problems(pattern: &Value, events: &[EventType]) -> Vec<String> {
    let mut found = Vec::new();
    for alternative in alternatives(pattern) {
        for key in alternative
            .keys()
            .filter(|key| !["source", "detail-type", "detail"].contains(&key.as_str()))
        {
            found.push(format!("{key} is no field that our rules use"));
        }
        let matchers = |field: &str| {
            alternative
                .get(field)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let (sources, types) = (matchers("source"), matchers("detail-type"));
        if sources.is_empty() || types.is_empty() {
            found.push("a rule names its sources and its detail types".to_owned());
        }
        let any = |matchers: &[Value], text: &str| matchers.iter().any(|matcher| matches(matcher, text));
        for kind in &types {
            if !events
                .iter()
                .any(|event| matches(kind, event.detail_type) && any(&sources, event.source))
            {
                found.push(format!("no source here sends {kind}"));
            }
        }
        for source in &sources {
            if !events
                .iter()
                .any(|event| matches(source, event.source) && any(&types, event.detail_type))
            {
                found.push(format!("{source} sends nothing that is named here"));
            }
        }
    }
    found
}

/// The pattern once for each branch of its `$or`.
fn alternatives(pattern: &Value) -> Vec<Map<String, Value>> {
    let mut common = pattern.as_object().cloned().unwrap_or_default();
    match common.remove("$or") {
        Some(Value::Array(branches)) => {
            let branches = branches
                .into_iter()
                .filter_map(|branch| branch.as_object().cloned());
            branches
                .map(|branch| common.clone().into_iter().chain(branch).collect())
                .collect()
        }
        _ => vec![common],
    }
}

fn matches(matcher: &Value, text: &str) -> bool {
    match matcher {
        Value::String(exact) => exact == text,
        _ => matcher["prefix"]
            .as_str()
            .is_some_and(|prefix| text.starts_with(prefix)),
    }
}

#[test]
fn every_rule_names_events_that_exist() {
    let events = event_examples::all();
    let names = schema_files::names_in("rules");
    assert!(!names.is_empty());
    for name in names {
        let found = pattern_problems(&schema_files::read(&format!("rules/{name}.json")), &events);
        assert!(found.is_empty(), "events/rules/{name}.json: {found:?}");
    }
}

#[test]
fn a_rule_that_cannot_match_is_noticed() {
    let events = event_examples::all();
    let good = json!({ "$or": [
        { "source": ["core-api.products"], "detail-type": ["ProductCreated"] },
        { "source": [{ "prefix": "warehouse" }], "detail-type": ["StockAdjustmentRequested"] }
    ] });
    assert_eq!(pattern_problems(&good, &events), [""; 0]);
    for bad in [
        json!({}),
        json!({ "source": ["core-api.orders"] }),
        json!({ "detail-type": ["OrderCreated"] }),
        json!({ "source": ["core-api.orders"], "detail-type": [] }),
        json!({ "source": ["core-api.orders"], "detail-type": ["OrderPlaced"] }),
        json!({ "source": ["core-api.order"], "detail-type": ["OrderCreated"] }),
        json!({ "source": ["core-api.orders"], "detail-type": ["OrderCreated", "OrderCompleted"] }),
        json!({ "source": ["core-api.orders", "order-saga"], "detail-type": ["OrderCreated"] }),
        json!({ "source": [{ "suffix": "orders" }], "detail-type": ["OrderCreated"] }),
        json!({ "source": ["core-api.orders"], "detail_type": ["OrderCreated"], "detail-type": ["OrderCreated"] }),
        json!({ "$or": [{ "source": ["core-api.orders"], "detail-type": ["OrderCreated"] }, {}] }),
    ] {
        assert_ne!(pattern_problems(&bad, &events), [""; 0], "{bad}");
    }
}
