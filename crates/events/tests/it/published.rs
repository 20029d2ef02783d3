//! No schema changes incompatibly within a version that was published.
//!
//! `events/schemas/published/v<version>/` remembers each version of each schema as the world knows it. A schema
//! always equals its latest snapshot: `PUBLISH_SCHEMAS=1 cargo test -p events published` takes a new one, and
//! refuses as well what would break the last.

use std::{collections::BTreeSet, env, fs};

use serde_json::Value;

use crate::{
    compatibility,
    event_examples::{self, EventType},
    schema_files,
};

/// How a schema relates to what was published of its version.
#[derive(Debug, PartialEq)]
enum PublicationStatus {
    Published,
    /// New, or changed in a way that breaks nobody.
    Unpublished,
    /// Changed in a way that breaks somebody, and how.
    Breaking(Vec<String>),
}

fn publication_status(published: Option<&str>, current: &str) -> PublicationStatus {
    let Some(published) = published else {
        return PublicationStatus::Unpublished;
    };
    let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let broken = compatibility::breaking_changes(&parse(published), &parse(current));
    match (broken.is_empty(), published == current) {
        (false, _) => PublicationStatus::Breaking(broken),
        (true, false) => PublicationStatus::Unpublished,
        (true, true) => PublicationStatus::Published,
    }
}

/// Each schema's name and version. The envelope is part of every event, so it never gets a second version.
fn versions() -> Vec<(String, u32)> {
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
    for (name, version) in versions() {
        let snapshot = schema_files::path(&format!("schemas/published/v{version}/{name}.json"));
        let current = fs::read_to_string(schema_files::path(&format!("schemas/{name}.json"))).unwrap();
        match publication_status(fs::read_to_string(&snapshot).ok().as_deref(), &current) {
            PublicationStatus::Published => {}
            PublicationStatus::Unpublished if publish => {
                fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
                fs::write(snapshot, current).unwrap();
            }
            PublicationStatus::Unpublished => problems.push(format!(
                "{name}.json is not what was published as version {version}, and may be published: \
                 PUBLISH_SCHEMAS=1 cargo test -p events published"
            )),
            PublicationStatus::Breaking(how) => {
                let next = version + 1;
                let advice = match name.as_str() {
                    "envelope" => "every event there ever was has this envelope, so undo that".to_owned(),
                    _ => format!("make version {next} (schema_version {next}) instead, see events/README.md"),
                };
                problems.push(format!(
                    "{name}.json breaks its published version {version}; {advice}:"
                ));
                problems.extend(how);
            }
        }
    }
    problems.extend(missing_and_unknown());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Queues and the archive hold events of older versions, so their schemas stay; and nothing else is there.
fn missing_and_unknown() -> Vec<String> {
    let expected: BTreeSet<String> = versions()
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
    let lost = expected
        .difference(&found)
        .map(|it| format!("published/{it}.json is missing"));
    let unknown = found
        .difference(&expected)
        .map(|it| format!("published/{it}.json is no version of any event"));
    lost.chain(unknown).collect()
}

#[test]
fn only_what_breaks_nobody_may_be_published() {
    let old = r#"{"properties":{"a":{"type":"string"}}}"#;
    let more = r#"{"properties":{"a":{"type":"string"},"b":{}}}"#;
    assert_eq!(publication_status(None, old), PublicationStatus::Unpublished);
    assert_eq!(publication_status(Some(old), old), PublicationStatus::Published);
    assert_eq!(
        publication_status(Some(old), more),
        PublicationStatus::Unpublished
    );
    assert!(
        matches!(publication_status(Some(more), old), PublicationStatus::Breaking(how) if how.len() == 1)
    );
}
