//! The Rust types and the JSON schemas accept the same documents.
//!
//! First the test compares the example that Rust serialises with the schema: each key must be in the schema,
//! and each property of the schema must be a key. Then it mutates every value of the document in every way
//! that both sides validate. The schema and the Rust parser must both accept or both reject each mutation.

use std::collections::BTreeSet;

use jsonschema::{Registry, Validator};
use serde_json::{Map, Value, json};

use crate::{
    event_examples::{self, EventType},
    schema_files,
};

const BASE: &str = "https://matsuri.dev/events/";

/// The keywords that our schemas may use. Validators ignore unknown keywords, so a typo has no effect.
const KEYWORDS: &str = "$schema $id $ref title description x-source type properties required \
    additionalProperties items minItems maxItems enum const format pattern not minLength minimum maximum";

/// A value of the example and its subschema.
struct SchemaLocation<'a> {
    pointer: String,
    schema: &'a Value,
    /// True for a property of an object, false for an element of an array.
    is_property: bool,
}

/// Lists the differences between `event` and its schema. Empty when they are consistent.
fn differences(event: &EventType, envelope: &Value, schema: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let id = format!("{BASE}{}.json", event.schema_name());
    for (keyword, expected) in [
        ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
        ("$id", json!(id)),
        ("$ref", json!("envelope.json")),
        ("title", json!(event.detail_type)),
        ("x-source", json!(event.source)),
    ] {
        if schema[keyword] != expected {
            problems.push(format!("{keyword} is {}, Rust has {expected}", schema[keyword]));
        }
    }
    if schema["properties"]["schema_version"] != json!({ "const": event.version }) {
        problems.push(format!("schema_version is not the constant {}", event.version));
    }

    // Other properties would narrow the envelope for this event only, and the compatibility checks of the two
    // files would not see it.
    let own = schema["properties"].as_object().into_iter().flat_map(Map::keys);
    for name in own.filter(|name| !["schema_version", "data"].contains(&name.as_str())) {
        problems.push(format!("{name} must be in the envelope or in the data"));
    }

    let whole = merged(envelope, schema);
    let mut places = Vec::new();
    collect_locations(
        &whole,
        &event.example,
        String::new(),
        false,
        &mut places,
        &mut problems,
    );

    let validator = validator(envelope, schema);
    problems.extend(
        validator
            .iter_errors(&event.example)
            .map(|e| format!("rejects the document that Rust serialises: {e}")),
    );
    for place in &places {
        compare_mutations(event, &validator, place, &mut problems);
    }
    problems
}

fn validator(envelope: &Value, schema: &Value) -> Validator {
    let registry = Registry::new()
        .add(format!("{BASE}envelope.json"), envelope.clone())
        .unwrap();
    let registry = registry.prepare().unwrap();
    jsonschema::options()
        .with_registry(&registry)
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(schema)
        .unwrap_or_else(|e| panic!("{}: {e}", schema["$id"]))
}

/// Merges an event's schema into the envelope's.
fn merged(below: &Value, above: &Value) -> Value {
    let (Value::Object(below), Value::Object(above)) = (below, above) else {
        return above.clone();
    };
    let mut both = below.clone();
    for (key, value) in above {
        let merged = below
            .get(key)
            .map_or_else(|| value.clone(), |under| merged(under, value));
        both.insert(key.clone(), merged);
    }
    Value::Object(both)
}

fn collect_locations<'a>(
    schema: &'a Value,
    value: &Value,
    pointer: String,
    is_property: bool,
    places: &mut Vec<SchemaLocation<'a>>,
    problems: &mut Vec<String>,
) {
    let keywords = schema.as_object().into_iter().flat_map(Map::keys);
    for keyword in keywords.filter(|keyword| !KEYWORDS.split(' ').any(|known| known == *keyword)) {
        problems.push(format!(
            "{pointer}: {keyword} is not a keyword that our schemas use"
        ));
    }
    match value {
        Value::Object(members) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, rule) in properties.into_iter().flatten() {
                if !members.contains_key(name) {
                    problems.push(format!(
                        "{pointer}/{name} is in the schema, but Rust does not serialise it"
                    ));
                }
                if rule.get("description").is_none() {
                    problems.push(format!("{pointer}/{name} has no description"));
                }
            }
            let entry = schema.get("additionalProperties").filter(|rule| rule.is_object());
            for (name, member) in members {
                let at = format!("{pointer}/{name}");
                match properties.and_then(|properties| properties.get(name)).or(entry) {
                    Some(rule) => collect_locations(rule, member, at, true, places, problems),
                    None => problems.push(format!("{at} is serialised by Rust, but not in the schema")),
                }
            }
        }
        Value::Array(elements) => match (schema.get("items"), elements.first()) {
            (Some(rule), Some(first)) => {
                collect_locations(rule, first, format!("{pointer}/0"), false, places, problems)
            }
            (None, _) => problems.push(format!("{pointer}: the schema does not define the array's items")),
            (_, None) => problems.push(format!("{pointer}: the example has no element")),
        },
        _ => {}
    }
    places.push(SchemaLocation {
        pointer,
        schema,
        is_property,
    });
}

/// Mutates the example at one location and compares whether the schema and Rust accept it.
fn compare_mutations(
    event: &EventType,
    validator: &Validator,
    place: &SchemaLocation,
    problems: &mut Vec<String>,
) {
    let at = &place.pointer;
    let value = event
        .example
        .pointer(at)
        .expect("the location was collected from the example");
    let with = |new: Value| {
        let mut document = event.example.clone();
        *document
            .pointer_mut(at)
            .expect("the location was collected from the example") = new;
        document
    };
    let mut mutations = vec![
        ("null", with(Value::Null)),
        ("with another type", with(json!(true))),
    ];
    if place.is_property {
        mutations.push(("missing", without(&event.example, at)));
    }
    match value {
        Value::Object(members) => {
            let mut members = members.clone();
            members.insert("unknown_property".to_owned(), json!(true));
            mutations.push(("with an additional property", with(members.into())));
        }
        Value::Number(_) => {
            mutations.push(("with a fraction", with(json!(1.5))));
            for bound in ["minimum", "maximum"] {
                match place.schema.get(bound) {
                    // Next to a constant, bounds have no effect.
                    Some(_) if place.schema.get("const").is_some() => {}
                    Some(limit) => mutations.push((bound, with(limit.clone()))),
                    None => problems.push(format!("{at} has no {bound}")),
                }
            }
        }
        Value::String(_) => compare_text_values(event, validator, place, &with(json!("?")), problems),
        _ => {}
    }
    for (what, document) in mutations {
        let (schema, rust) = (validator.is_valid(&document), (event.parse)(&document).is_ok());
        if schema != rust {
            let outcome = |accepts| if accepts { "accepts" } else { "rejects" };
            problems.push(format!(
                "{at} {what}: the schema {} it, Rust {}",
                outcome(schema),
                outcome(rust)
            ));
        }
    }
}

/// Replaces a string with a meaningless one, and compares the formats and values that both sides expect.
fn compare_text_values(
    event: &EventType,
    validator: &Validator,
    place: &SchemaLocation,
    document: &Value,
    problems: &mut Vec<String>,
) {
    let at = &place.pointer;
    let result = (event.parse)(document);
    // The schema may be stricter: Rust parses an empty name, which no producer should send.
    if validator.is_valid(document) && result.is_err() {
        problems.push(format!(
            "{at}: the schema accepts any string, Rust fails with {result:?}"
        ));
    }
    let (schema, rust) = (schema_values(place.schema), rust_variants(result));
    if schema != rust {
        problems.push(format!(
            "{at}: the schema's values are {schema:?}, Rust's are {rust:?}"
        ));
    }
}

fn without(document: &Value, pointer: &str) -> Value {
    let mut document = document.clone();
    let (parent, name) = pointer.rsplit_once('/').expect("a property has a parent");
    let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.expect("a property is a member of an object").remove(name);
    document
}

/// The values of the schema's `enum`, if it has one.
fn schema_values(schema: &Value) -> BTreeSet<String> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The variants of a Rust enum, taken from serde's error: "unknown variant `?`, expected one of `a`, `b`".
fn rust_variants(result: Result<(), String>) -> BTreeSet<String> {
    let error = result.err().unwrap_or_default();
    let names = error
        .strip_prefix("unknown variant `?`, expected ")
        .unwrap_or_default();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn schemas(event: &EventType) -> (Value, Value) {
    (
        schema_files::read("schemas/envelope.json"),
        schema_files::read(&format!("schemas/{}.json", event.schema_name())),
    )
}

#[test]
fn every_event_is_consistent_with_its_schema() {
    let problems: Vec<String> = event_examples::all()
        .iter()
        .flat_map(|event| {
            let (envelope, schema) = schemas(event);
            let problems = differences(event, &envelope, &schema).into_iter();
            problems
                .map(|problem| format!("{}: {problem}", event.schema_name()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn schema_rejects_invalid_traceparents() {
    let event = &event_examples::all()[0];
    let (envelope, schema) = schemas(event);
    let validator = validator(&envelope, &schema);
    for traceparent in [
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "",
    ] {
        let mut document = event.example.clone();
        document["traceparent"] = json!(traceparent);
        assert!(!validator.is_valid(&document), "{traceparent}");
        assert!((event.parse)(&document).is_err(), "{traceparent}");
    }
}

#[test]
fn detects_drift_between_schema_and_rust() {
    #[rustfmt::skip]
    let changes = [
        ("order-created", "/x-source", Some(json!("order-saga")), "x-source is \"order-saga\""),
        ("order-created", "/title", Some(json!("OrderPlaced")), "title is \"OrderPlaced\""),
        ("order-created", "/properties/schema_version/const", Some(json!(2)), "not the constant 1"),
        ("order-created", "/properties/event_id", Some(json!({ "maxLength": 36 })), "event_id must be in"),
        ("order-created", "/properties/data/properties/user_id", None, "/data/user_id is serialised"),
        ("order-created", "/properties/data/properties/coupon", Some(json!({})), "Rust does not serialise"),
        ("order-created", "/properties/data/properties/items/items/required/0", None, "product_id missing"),
        ("stock-reserved", "/properties/data/required/2", Some(json!("expires_at")), "expires_at missing"),
        ("stock-reserved", "/properties/data/properties/expires_at/type", Some(json!("string")), "null"),
        ("stock-reserved", "/properties/data/properties/items/type", None, "with another type"),
        ("order-failed", "/properties/data/properties/reason/enum/0", None, "the schema's values are"),
        ("order-failed", "/properties/data/properties/reason/enum/3", Some(json!("tired")), "values are"),
        ("order-failed", "/properties/data/properties/reason/enum", None, "accepts any string"),
        ("order-failed", "/properties/data/properties/order_id/format", None, "accepts any string"),
        ("order-failed", "/properties/data/properties/failed_at/format", Some(json!("date")), "rejects the"),
        ("order-failed", "/properties/data/properties/order_id/fromat", Some(json!("uuid")), "not a keyword"),
        ("order-failed", "/properties/data/properties/order_id/description", None, "no description"),
        ("order-failed", "/properties/data/additionalProperties", Some(json!(false)), "additional property"),
        ("stock-adjustment-requested", "/properties/data/additionalProperties", None, "additional property"),
        ("stock-low", "/properties/data/properties/threshold/maximum", None, "has no maximum"),
        ("stock-low", "/properties/data/properties/threshold/maximum", Some(json!(u64::MAX)), "maximum: the"),
        ("stock-low", "/properties/data/properties/threshold/type", Some(json!("number")), "with a fraction"),
    ];
    let events = event_examples::all();
    for (name, pointer, value, expected) in changes {
        let event = events.iter().find(|event| event.schema_name() == name).unwrap();
        let (envelope, mut schema) = schemas(event);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match (schema.pointer_mut(parent).unwrap(), value) {
            (Value::Object(parent), Some(value)) => drop(parent.insert(key.to_owned(), value)),
            (Value::Object(parent), None) => drop(parent.remove(key)),
            (Value::Array(parent), Some(value)) => parent.push(value),
            (Value::Array(parent), None) => drop(parent.remove(key.parse().unwrap())),
            _ => panic!("{pointer} is not in the schema"),
        }
        let problems = differences(event, &envelope, &schema);
        assert!(
            problems.iter().any(|line| line.contains(expected)),
            "{name}{pointer}: {expected:?} not in {problems:?}"
        );
    }
}
