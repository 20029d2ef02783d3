//! Published schemas change only compatibly within a version.
//!
//! `events/schemas/published/v<version>/` holds the published snapshot of each version of each schema. The
//! test requires that a schema equals its latest snapshot. `PUBLISH_SCHEMAS=1 cargo test -p events published`
//! writes a new snapshot, and fails when the change is incompatible with the last one.

use std::{collections::BTreeSet, env, fs};

use serde_json::Value;

use crate::{
    compatibility,
    event_examples::{self, EventType},
    schema_files,
};

/// How a schema relates to the published snapshot of its version.
#[derive(Debug, PartialEq)]
enum PublicationStatus {
    Published,
    /// New, or changed compatibly.
    Unpublished,
    /// Changed incompatibly; lists the breaking changes.
    Breaking(Vec<String>),
}

fn publication_status(published: Option<&str>, current: &str) -> PublicationStatus {
    let Some(published) = published else {
        return PublicationStatus::Unpublished;
    };
    let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let breaking = compatibility::breaking_changes(&parse(published), &parse(current));
    match (breaking.is_empty(), published == current) {
        (false, _) => PublicationStatus::Breaking(breaking),
        (true, false) => PublicationStatus::Unpublished,
        (true, true) => PublicationStatus::Published,
    }
}

/// Lists each schema's name and current version. All events share the envelope, so it has one version only.
fn schema_versions() -> Vec<(String, u32)> {
    let events = event_examples::all();
    let events = events
        .iter()
        .map(|event| (EventType::schema_name(event), event.version));
    [("envelope".to_owned(), 1)].into_iter().chain(events).collect()
}

#[test]
fn published_schemas_stay_compatible() {
    let publish = env::var_os("PUBLISH_SCHEMAS").is_some();
    let mut problems = Vec::new();
    for (name, version) in schema_versions() {
        let snapshot = schema_files::path(&format!("schemas/published/v{version}/{name}.json"));
        let current = fs::read_to_string(schema_files::path(&format!("schemas/{name}.json"))).unwrap();
        match publication_status(fs::read_to_string(&snapshot).ok().as_deref(), &current) {
            PublicationStatus::Published => {}
            PublicationStatus::Unpublished if publish => {
                fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
                fs::write(snapshot, current).unwrap();
            }
            PublicationStatus::Unpublished => problems.push(format!(
                "{name}.json differs from published version {version}, compatibly. Publish it with: \
                 PUBLISH_SCHEMAS=1 cargo test -p events published"
            )),
            PublicationStatus::Breaking(changes) => {
                let next = version + 1;
                let advice = match name.as_str() {
                    "envelope" => "undo the change: all archived events have this envelope".to_owned(),
                    _ => {
                        format!("create version {next} (schema_version {next}) instead, see events/README.md")
                    }
                };
                problems.push(format!(
                    "{name}.json is incompatible with its published version {version}; {advice}:"
                ));
                problems.extend(changes);
            }
        }
    }
    problems.extend(missing_and_unknown());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Checks the published folder: queues and the archive hold events of older versions, so the schemas of all
/// versions must exist, and no other files may.
fn missing_and_unknown() -> Vec<String> {
    let expected: BTreeSet<String> = schema_versions()
        .into_iter()
        .flat_map(|(name, newest)| (1..=newest).map(move |version| format!("v{version}/{name}")))
        .collect();
    let folders = fs::read_dir(schema_files::path("schemas/published")).unwrap();
    let found: BTreeSet<String> = folders
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .flat_map(|folder| {
            let names = schema_files::names_in(&format!("schemas/published/{folder}")).into_iter();
            names.map(move |name| format!("{folder}/{name}"))
        })
        .collect();
    let missing = expected
        .difference(&found)
        .map(|schema| format!("published/{schema}.json is missing"));
    let unknown = found
        .difference(&expected)
        .map(|schema| format!("published/{schema}.json is not a version of any event"));
    missing.chain(unknown).collect()
}

#[test]
fn publication_status_separates_compatible_and_breaking_changes() {
    let old = r#"{"properties":{"a":{"type":"string"}}}"#;
    let extended = r#"{"properties":{"a":{"type":"string"},"b":{}}}"#;
    assert_eq!(publication_status(None, old), PublicationStatus::Unpublished);
    assert_eq!(publication_status(Some(old), old), PublicationStatus::Published);
    assert_eq!(
        publication_status(Some(old), extended),
        PublicationStatus::Unpublished
    );
    let PublicationStatus::Breaking(changes) = publication_status(Some(extended), old) else {
        panic!("the removal of a property is a breaking change");
    };
    assert_eq!(changes.len(), 1);
}
