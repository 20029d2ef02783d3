//! Reads the files below `events/`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Resolves a path below `events/`.
pub fn path(relative: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events")).join(relative)
}

/// Reads the JSON document at a path below `events/`.
pub fn read(relative: &str) -> Value {
    let text = fs::read_to_string(path(relative)).unwrap_or_else(|e| panic!("events/{relative}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("events/{relative}: {e}"))
}

/// Lists the documents in a folder below `events/` by name, without `.json`.
pub fn names_in(relative: &str) -> BTreeSet<String> {
    let folder = fs::read_dir(path(relative)).unwrap_or_else(|e| panic!("events/{relative}: {e}"));
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect()
}
