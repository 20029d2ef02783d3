//! The documents are up to date and complete.

use std::{fs, path::Path};

use serde_json::Value;

#[test]
fn committed_documents_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, document) in api_documents::documents() {
        let committed = fs::read_to_string(root.join(path)).unwrap();
        let current = document.to_pretty_json().unwrap() + "\n";
        assert!(
            committed == current,
            "{path} is out of date: run `cargo xtask openapi`"
        );
    }
}

/// Every `$ref` resolves, and each operation documents its errors as problem documents.
#[test]
fn documents_are_complete() {
    for (_, document) in api_documents::documents() {
        assert_complete(&serde_json::to_value(document).unwrap());
    }
}

fn assert_complete(document: &Value) {
    let mut references = Vec::new();
    collect_references(document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} does not resolve"
        );
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            for (status, _) in responses.iter().filter(|(status, _)| status.starts_with('4')) {
                let content = resolve_response(document, &responses[status]);
                assert!(
                    content["content"]["application/problem+json"].is_object(),
                    "{method} {path} {status}"
                );
            }
            assert!(
                responses.keys().any(|status| status.as_str() < "400"),
                "{method} {path} documents no success"
            );
            let required: &[&str] = match (method.as_str(), operation.get("security").is_some()) {
                // A redirect may be all that a route returns.
                ("get", false) if responses.contains_key("303") => &["500", "503"],
                ("get", false) => &["200", "500", "503"],
                (_, false) => &["400", "500", "503"],
                ("get", true) => &["200", "401", "403", "500", "503"],
                (_, true) => &["401", "403", "500", "503"],
            };
            for status in required {
                assert!(
                    responses.contains_key(*status),
                    "{method} {path} does not document {status}"
                );
            }
        }
    }
}

/// Of two schemas, responses or operations with the same name, the document of the public API would have one.
#[test]
fn services_of_the_public_api_use_a_name_for_the_same_thing() {
    let [core_api, auth] = [core_api::http::openapi_document(), auth::openapi_document()]
        .map(|document| serde_json::to_value(document).unwrap());
    for kind in ["/components/schemas", "/components/responses"] {
        let ours = auth.pointer(kind).unwrap().as_object().unwrap();
        for (name, ours) in ours {
            let theirs = core_api.pointer(&format!("{kind}/{name}")).unwrap_or(ours);
            assert_eq!(ours, theirs, "{kind}/{name} has two meanings");
        }
    }
    for path in auth["paths"].as_object().unwrap().keys() {
        assert!(core_api["paths"].get(path).is_none(), "{path} is declared twice");
    }
}

fn resolve_response<'a>(document: &'a Value, response: &'a Value) -> &'a Value {
    match response["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => response,
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members
                .values()
                .for_each(|member| collect_references(member, into));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, into)),
        _ => {}
    }
}
