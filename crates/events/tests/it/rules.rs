//! The patterns in `events/rules` name existing events, each with the source that publishes it.

use serde_json::{Map, Value, json};

use crate::{
    event_examples::{self, EventType},
    schema_files,
};

/// Lists the problems of an EventBridge pattern: parts that match no event. Empty when every part can match.
fn pattern_problems(pattern: &Value, events: &[EventType]) -> Vec<String> {
    let mut problems = Vec::new();
    for alternative in alternatives(pattern) {
        for key in alternative
            .keys()
            .filter(|key| !["source", "detail-type", "detail"].contains(&key.as_str()))
        {
            problems.push(format!("{key} is not a field that our rules use"));
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
            problems.push("a rule must name its sources and its detail types".to_owned());
        }
        let any = |matchers: &[Value], text: &str| matchers.iter().any(|matcher| matches(matcher, text));
        for detail_type in &types {
            if !events
                .iter()
                .any(|event| matches(detail_type, event.detail_type) && any(&sources, event.source))
            {
                problems.push(format!("no source in this rule publishes {detail_type}"));
            }
        }
        for source in &sources {
            if !events
                .iter()
                .any(|event| matches(source, event.source) && any(&types, event.detail_type))
            {
                problems.push(format!(
                    "{source} publishes none of the detail types in this rule"
                ));
            }
        }
    }
    problems
}

/// Expands the pattern into one pattern for each branch of its `$or`.
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
fn rules_match_existing_events() {
    let events = event_examples::all();
    let names = schema_files::names_in("rules");
    assert!(!names.is_empty());
    for name in names {
        let problems = pattern_problems(&schema_files::read(&format!("rules/{name}.json")), &events);
        assert!(problems.is_empty(), "events/rules/{name}.json: {problems:?}");
    }
}

#[test]
fn detects_rules_that_cannot_match() {
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
        json!({
            "source": ["core-api.orders"], "detail_type": ["OrderCreated"], "detail-type": ["OrderCreated"]
        }),
        json!({ "$or": [{ "source": ["core-api.orders"], "detail-type": ["OrderCreated"] }, {}] }),
    ] {
        assert_ne!(pattern_problems(&bad, &events), [""; 0], "{bad}");
    }
}
