//! Writes the OpenAPI documents, for `cargo xtask openapi`.

use std::{fs, path::Path};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, document) in api_documents::documents() {
        let text = document.to_pretty_json()? + "\n";
        fs::write(root.join(path), text).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}
