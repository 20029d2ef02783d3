//! Prints every mail with sample data as JSON. `cargo xtask mail` runs it.

use std::{error::Error, io};

fn main() -> Result<(), Box<dyn Error>> {
    let previews = processors::mail_previews::render_all()?;
    Ok(serde_json::to_writer_pretty(io::stdout().lock(), &previews)?)
}
