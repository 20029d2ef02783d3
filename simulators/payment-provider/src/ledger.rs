//! The ledger: every answer given, one JSON document per line, in a file that only grows.
//!
//! A line is handed to the operating system before its answer is given, so the end of this program at any
//! moment loses no answer that somebody has seen. It is not forced to the disk: a power failure may take the
//! last moments, which nobody minds on a laptop.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use crate::state::{LedgerEntry, ProviderState};

/// The file that [`Ledger::open`] makes in the data folder.
pub const FILE_NAME: &str = "ledger.jsonl";

/// The open ledger. It is locked for as long as this lives: two writers would spoil it.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    /// Where the last whole line ends, in bytes.
    end_offset: u64,
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerOpenError {
    /// Another program has it open.
    #[error("another payment-provider works with this data folder")]
    Locked,
    /// A line other than a torn last one is not what this program writes.
    #[error("line {line} of the ledger is not readable")]
    CorruptLine {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file system refused.
    #[error("the ledger's file cannot be used")]
    Io(#[from] io::Error),
}

impl Ledger {
    /// Opens the ledger in `folder`, which is made if need be, and takes up the books from it. A last line
    /// without its end was being written when the program died, and was never answered: it is dropped.
    pub fn open(folder: &Path) -> Result<(Self, ProviderState), LedgerOpenError> {
        fs::create_dir_all(folder)?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(folder.join(FILE_NAME))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => LedgerOpenError::Locked,
            TryLockError::Error(error) => error.into(),
        })?;
        let mut books = ProviderState::default();
        let mut end = 0;
        let mut reader = BufReader::new(&file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let length = reader.read_until(b'\n', &mut text)?;
            if text.last() != Some(&b'\n') {
                break;
            }
            books.apply(
                serde_json::from_slice(&text)
                    .map_err(|source| LedgerOpenError::CorruptLine { line, source })?,
            );
            end += length as u64;
        }
        file.set_len(end)?;
        Ok((
            Self {
                file,
                end_offset: end,
            },
            books,
        ))
    }

    /// Appends an entry, whole or not at all.
    pub fn append(&mut self, entry: &LedgerEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // Half a line would join with the next.
            self.file.set_len(self.end_offset)?;
            return Err(error);
        }
        self.end_offset += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::Clock;

    use super::*;
    use crate::state::{Command, IdempotentRequest};

    fn append_entry(folder: &Path) -> LedgerEntry {
        let (mut ledger, mut books) = Ledger::open(folder).unwrap();
        let command = Command::Create {
            amount: 500,
            currency: "jpy".into(),
            metadata: [("order_id".to_owned(), "ご注文\n1".to_owned())].into(),
            payment_method: None,
            confirm: false,
        };
        let entry = LedgerEntry {
            request: Some(IdempotentRequest {
                key: "key".into(),
                fingerprint: "POST /".into(),
            }),
            answer: books.decide(command, Clock::system().now()),
        };
        ledger.append(&entry).unwrap();
        books.apply(entry.clone());
        entry
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_writing_goes_on_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = append_entry(folder.path());
        let path = folder.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        for torn in 1..whole.len() {
            fs::write(&path, [&whole[..], &whole[..torn]].concat()).unwrap();
            let second = append_entry(folder.path());
            let (ledger, books) = Ledger::open(folder.path()).unwrap();
            assert_eq!(books.intents().count(), 2, "torn after {torn} bytes");
            assert_eq!(
                books.find_outcome(second.request.as_ref().unwrap()),
                Some(Ok(second.answer))
            );
            drop(ledger);
            fs::write(&path, &whole).unwrap();
        }
        let (_ledger, books) = Ledger::open(folder.path()).unwrap();
        assert_eq!(
            books.find_outcome(first.request.as_ref().unwrap()),
            Some(Ok(first.answer))
        );
    }

    #[test]
    fn a_spoilt_line_in_the_middle_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        append_entry(folder.path());
        let path = folder.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"answer\":\n", &whole[..]].concat()).unwrap();
        assert!(matches!(
            Ledger::open(folder.path()),
            Err(LedgerOpenError::CorruptLine { line: 2, .. })
        ));
    }

    #[test]
    fn one_program_at_a_time_works_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let _open = Ledger::open(folder.path()).unwrap();
        assert!(matches!(
            Ledger::open(folder.path()),
            Err(LedgerOpenError::Locked)
        ));
    }
}
