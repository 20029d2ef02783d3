//! Reads the last lines of log files.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};

/// How much of the end of a file is searched for lines, in bytes.
const TAIL_WINDOW_BYTES: u64 = 1 << 20;

/// Returns the last `lines` lines of a file.
///
/// # Errors
/// When the file cannot be read.
pub fn tail(path: &Path, lines: usize) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_WINDOW_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_WINDOW_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_returns_the_last_lines_in_order() {
        let path = std::env::temp_dir().join(format!("xtask-tail-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let last = tail(&path, 2).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(last, "two\nthree");
    }
}
