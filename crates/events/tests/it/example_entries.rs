//! The entries in `events/schemas/examples`, which developers pass to `awslocal events put-events`, are valid
//! events.

use std::fs;

use serde_json::Value;

use crate::{event_examples, schema_files};

#[test]
fn every_example_is_a_valid_event() {
    let names = schema_files::names_in("schemas/examples");
    assert!(!names.is_empty());
    for name in names {
        let entries = schema_files::read(&format!("schemas/examples/{name}.json"));
        for entry in entries.as_array().unwrap() {
            let text = |key: &str| {
                entry[key]
                    .as_str()
                    .unwrap_or_else(|| panic!("{name}: {key} is not a string"))
            };
            assert_eq!(text("EventBusName"), "ecommerce-event-bus", "{name}");
            let event = event_examples::all()
                .into_iter()
                .find(|event| event.detail_type == text("DetailType"));
            let event = event.unwrap_or_else(|| panic!("{name}: {} is not an event", text("DetailType")));
            assert_eq!(
                (text("Source"), name.as_str()),
                (event.source, event.schema_name().as_str())
            );
            let detail: Value = serde_json::from_str(text("Detail")).unwrap();
            (event.parse)(&detail).unwrap_or_else(|e| panic!("{name}: {e}"));
            // Sending the example must change stock, so its product has to be in the seed catalog.
            let catalog =
                fs::read_to_string(schema_files::path("../fixtures/catalog/products.json")).unwrap();
            assert!(
                catalog.contains(detail["data"]["product_id"].as_str().unwrap()),
                "{name}: unknown product"
            );
        }
    }
}
