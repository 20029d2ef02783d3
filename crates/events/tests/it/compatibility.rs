//! Decides whether a schema change is compatible within its version.
//!
//! Two conditions must hold. Events that are already stored, in a queue or in the archive, must match the new
//! schema; and a consumer built for the old schema must be able to read events of the new one. So within a
//! version an object may gain optional properties, a bound may become wider and descriptions may be edited.
//! The check rejects every other change, including keywords that it does not know.
//!
//! Wider bounds are allowed because of a rule for consumers in `events/README.md`: a bound is a promise of
//! the producer.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Lists the breaking changes from `old` to `new`, each with its location. Empty for a compatible change.
pub fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(old, new, "", &mut found);
    found
}

fn compare(old: &Value, new: &Value, at: &str, found: &mut Vec<String>) {
    let (Value::Object(was), Value::Object(is)) = (old, new) else {
        if old != new {
            found.push(format!("{at}: changes from {old} to {new}"));
        }
        return;
    };
    let keywords: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for keyword in keywords {
        let (before, after) = (was.get(keyword), is.get(keyword));
        match keyword.as_str() {
            "description" | "$comment" | "examples" => {}
            "properties" => compare_properties(was, is, at, found),
            "required" => {
                let added = "becomes required: stored events may lack it";
                let removed = "is no longer required: consumers of this version rely on it";
                compare_sets(before, after, &format!("{at}/required"), added, removed, found);
            }
            "enum" if before.is_some() && after.is_some() => {
                let added = "is a new value: consumers of this version do not know it";
                let removed = "is a removed value: stored events may have it";
                compare_sets(before, after, &format!("{at}/enum"), added, removed, found);
            }
            "minimum" | "minLength" | "minItems" | "minProperties" => {
                compare_bounds(
                    before,
                    after,
                    |was, is| is <= was,
                    &format!("{at}/{keyword}"),
                    found,
                );
            }
            "maximum" | "maxLength" | "maxItems" | "maxProperties" => {
                compare_bounds(
                    before,
                    after,
                    |was, is| is >= was,
                    &format!("{at}/{keyword}"),
                    found,
                );
            }
            "items" | "additionalProperties" | "propertyNames" if before.is_some() && after.is_some() => {
                compare(&was[keyword], &is[keyword], &format!("{at}/{keyword}"), found);
            }
            _ if before == after => {}
            _ => {
                let text = |side: Option<&Value>| side.map_or("nothing".to_owned(), Value::to_string);
                found.push(format!(
                    "{at}/{keyword}: changes from {} to {}",
                    text(before),
                    text(after)
                ));
            }
        }
    }
}

fn compare_properties(was: &Map<String, Value>, is: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    let none = Map::new();
    let [before, after] = [was, is].map(|schema| {
        schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none)
    });
    // Consumers of the old schema treat a new property as their schema treats unknown properties.
    let open = was
        .get("additionalProperties")
        .is_none_or(|rule| rule == &Value::Bool(true));
    for (name, old) in before {
        match after.get(name) {
            Some(new) => compare(old, new, &format!("{at}/properties/{name}"), found),
            None => found.push(format!(
                "{at}/properties/{name}: is removed: consumers of this version may need it"
            )),
        }
    }
    for name in after.keys().filter(|name| !open && !before.contains_key(*name)) {
        found.push(format!(
            "{at}/properties/{name}: is new: consumers of this version reject unknown properties"
        ));
    }
}

fn compare_sets(
    before: Option<&Value>,
    after: Option<&Value>,
    at: &str,
    added: &str,
    removed: &str,
    found: &mut Vec<String>,
) {
    let set = |side: Option<&Value>| -> BTreeSet<String> {
        side.and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(Value::to_string)
            .collect()
    };
    let (before, after) = (set(before), set(after));
    found.extend(
        after
            .difference(&before)
            .map(|value| format!("{at}: {value} {added}")),
    );
    found.extend(
        before
            .difference(&after)
            .map(|value| format!("{at}: {value} {removed}")),
    );
}

fn compare_bounds(
    before: Option<&Value>,
    after: Option<&Value>,
    wider: fn(f64, f64) -> bool,
    at: &str,
    found: &mut Vec<String>,
) {
    let number = |side: &Value| side.as_f64().unwrap_or(f64::NAN);
    match (before, after) {
        (_, None) => {}
        (Some(was), Some(is)) if wider(number(was), number(is)) => {}
        (Some(was), Some(is)) => {
            found.push(format!(
                "{at}: narrows from {was} to {is}: stored events may be outside"
            ));
        }
        (None, Some(is)) => found.push(format!("{at}: {is} is a new bound: stored events may be outside")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn published() -> Value {
        json!({
            "$id": "https://matsuri.dev/events/parcel-sent.json",
            "title": "ParcelSent",
            "x-source": "core-api.parcels",
            "$ref": "envelope.json",
            "type": "object",
            "required": ["id", "reason"],
            "properties": {
                "schema_version": { "const": 1 },
                "id": { "type": "string", "format": "uuid" },
                "reason": { "type": "string", "enum": ["sold", "gift"] },
                "code": { "type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 9 },
                "note": { "type": ["string", "null"] },
                "weight": { "type": "integer", "minimum": 1, "maximum": 30000 },
                // A property may have the name of a keyword.
                "description": { "type": "string" },
                "items": {
                    "type": "array", "minItems": 1, "maxItems": 100,
                    "items": {
                        "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } }
                    }
                },
                "labels": { "type": "object", "additionalProperties": { "type": "string", "maxLength": 40 } },
                "strict": { "type": "object", "additionalProperties": false, "properties": {} }
            }
        })
    }

    /// Returns the published schema with `value` at `pointer`, or without `pointer` when `value` is `None`.
    fn changed(pointer: &str, value: Option<Value>) -> Value {
        let mut schema = published();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = schema.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(key.to_owned(), value),
            None => parent.remove(key),
        };
        assert_ne!(schema, published(), "{pointer} changes nothing");
        schema
    }

    #[test]
    fn accepts_compatible_changes() {
        assert_eq!(breaking_changes(&published(), &published()), [""; 0]);
        #[rustfmt::skip]
        let changes = [
            ("an optional property", "/properties/colour", Some(json!({ "type": "string" }))),
            ("an optional item property", "/properties/items/items/properties/colour", Some(json!({}))),
            ("a lower minimum", "/properties/weight/minimum", Some(json!(0))),
            ("a higher maximum", "/properties/weight/maximum", Some(json!(40000))),
            ("a removed bound", "/properties/weight/maximum", None),
            ("longer text", "/properties/code/maxLength", Some(json!(12))),
            ("more items", "/properties/items/maxItems", Some(json!(200))),
            ("longer entries of a map", "/properties/labels/additionalProperties/maxLength", Some(json!(80))),
            ("a description", "/properties/weight/description", Some(json!("In grams."))),
            ("a comment", "/$comment", Some(json!("Weighed with its box."))),
            ("examples", "/properties/weight/examples", Some(json!([120]))),
            ("another order of values", "/properties/reason/enum", Some(json!(["gift", "sold"]))),
            ("another order of required names", "/required", Some(json!(["reason", "id"]))),
        ];
        for (what, pointer, value) in changes {
            assert_eq!(
                breaking_changes(&published(), &changed(pointer, value)),
                [""; 0],
                "{what}"
            );
        }
    }

    #[test]
    fn rejects_incompatible_changes() {
        #[rustfmt::skip]
        let changes = [
            ("/properties/note", None, "/properties/note: is removed"),
            ("/properties/items/items/properties/id", None, "/items/items/properties/id: is removed"),
            ("/properties/description", None, "/properties/description: is removed"),
            ("/properties", None, "/properties/weight: is removed"),
            ("/required", Some(json!(["id", "reason", "note"])), "\"note\" becomes required"),
            ("/required", Some(json!(["id"])), "\"reason\" is no longer required"),
            ("/required", None, "\"id\" is no longer required"),
            ("/properties/items/items/required", Some(json!([])), "/items/required: \"id\" is no longer"),
            ("/properties/note/type", Some(json!("string")), "/note/type: changes"),
            ("/properties/weight/type", Some(json!("number")), "/weight/type: changes"),
            ("/properties/weight/type", None, "/weight/type: changes from \"integer\" to nothing"),
            ("/properties/reason/enum", Some(json!(["sold"])), "\"gift\" is a removed value"),
            ("/properties/reason/enum", Some(json!(["sold", "gift", "lost"])), "\"lost\" is a new value"),
            ("/properties/reason/enum", None, "/reason/enum: changes"),
            ("/properties/code/enum", Some(json!(["a"])), "/code/enum: changes from nothing"),
            ("/properties/id/format", Some(json!("date-time")), "/id/format: changes"),
            ("/properties/id/format", None, "/id/format: changes"),
            ("/properties/note/format", Some(json!("email")), "/note/format: changes from nothing"),
            ("/properties/code/pattern", Some(json!("^[a-z0-9]+$")), "/code/pattern: changes"),
            ("/properties/code/not", Some(json!({ "const": "x" })), "/code/not: changes from nothing"),
            ("/properties/weight/minimum", Some(json!(2)), "/weight/minimum: narrows from 1 to 2"),
            ("/properties/weight/maximum", Some(json!(20000)), "/weight/maximum: narrows from 30000"),
            ("/properties/weight/multipleOf", Some(json!(10)), "/weight/multipleOf: changes from nothing"),
            ("/properties/code/minLength", Some(json!(3)), "/code/minLength: narrows"),
            ("/properties/note/maxLength", Some(json!(100)), "/note/maxLength: 100 is a new bound"),
            ("/properties/items/maxItems", Some(json!(50)), "/items/maxItems: narrows"),
            ("/properties/items/items", Some(json!(false)), "/items/items: changes"),
            ("/properties/items/items", None, "/items/items: changes"),
            ("/properties/labels/additionalProperties/maxLength", Some(json!(20)), "/maxLength: narrows"),
            ("/properties/labels/additionalProperties", Some(json!(false)), "/additionalProperties: changes"),
            ("/properties/labels/properties", Some(json!({ "ja": {} })), "/properties/ja: is new"),
            ("/properties/strict/properties/colour", Some(json!({})), "/properties/colour: is new"),
            ("/properties/strict/additionalProperties", None, "/additionalProperties: changes from false"),
            ("/additionalProperties", Some(json!(false)), "/additionalProperties: changes from nothing"),
            ("/properties/schema_version/const", Some(json!(2)), "/schema_version/const: changes"),
            ("/title", Some(json!("ParcelShipped")), "/title: changes"),
            ("/x-source", Some(json!("core-api.shipping")), "/x-source: changes"),
            ("/$id", Some(json!("https://matsuri.dev/events/parcel.json")), "/$id: changes"),
            ("/$ref", None, "/$ref: changes"),
            ("/if", Some(json!({ "required": ["note"] })), "/if: changes from nothing"),
        ];
        for (pointer, value, expected) in changes {
            let found = breaking_changes(&published(), &changed(pointer, value));
            assert!(
                found.iter().any(|line| line.contains(expected)),
                "{pointer}: {expected:?} not in {found:?}"
            );
        }
    }
}
