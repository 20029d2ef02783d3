//! The ledger: an append-only file with the outcome of every command, one JSON document per line.
//!
//! The provider writes a line to the operating system before it sends the response, so a crash of the process
//! loses no outcome that a client has seen. It does not call fsync: a power failure may lose the last lines,
//! which is acceptable for development and tests.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use crate::state::{LedgerEntry, ProviderState};

/// The name of the ledger's file in the data folder.
pub const FILE_NAME: &str = "ledger.jsonl";

/// An open ledger. It holds a file lock, because two writers would corrupt the file.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    /// The end of the last complete line, in bytes.
    end_offset: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerOpenError {
    /// Another process holds the lock.
    #[error("another payment-provider process uses this data folder")]
    Locked,
    /// A line, other than an incomplete last one, is not a valid entry.
    #[error("line {line} of the ledger is not a valid entry")]
    CorruptLine {
        /// Counted from 1.
        line: usize,
        source: serde_json::Error,
    },
    #[error("cannot read or write the ledger's file")]
    Io(#[from] io::Error),
}

impl Ledger {
    /// Opens the ledger in `folder`, creates both when they do not exist, and rebuilds the state. Drops an
    /// incomplete last line: the process ended while it wrote the line and had not sent the response.
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
        let mut state = ProviderState::default();
        let mut end_offset = 0;
        let mut reader = BufReader::new(&file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let length = reader.read_until(b'\n', &mut text)?;
            if text.last() != Some(&b'\n') {
                break;
            }
            state.apply(
                serde_json::from_slice(&text)
                    .map_err(|source| LedgerOpenError::CorruptLine { line, source })?,
            );
            end_offset += length as u64;
        }
        file.set_len(end_offset)?;
        Ok((Self { file, end_offset }, state))
    }

    /// Appends an entry, completely or not at all.
    pub fn append(&mut self, entry: &LedgerEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // Remove an incomplete line, which would join with the next one.
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
    use crate::{
        api_error::ApiError,
        state::{Command, CommandOutcome, IdempotentRequest},
    };

    fn append_entry(folder: &Path) -> LedgerEntry {
        let (mut ledger, mut state) = Ledger::open(folder).unwrap();
        let command = Command::Create {
            amount: 500,
            currency: "jpy".into(),
            metadata: [("order_id".to_owned(), "ご注文\n1".to_owned())].into(),
            payment_method: None,
            confirm: false,
            return_url: None,
        };
        let entry = LedgerEntry {
            request: Some(IdempotentRequest {
                key: "key".into(),
                fingerprint: "POST /".into(),
            }),
            outcome: state.decide(command, Clock::system().now()),
            is_hidden_by_error: false,
        };
        ledger.append(&entry).unwrap();
        state.apply(entry.clone());
        entry
    }

    #[test]
    fn an_incomplete_last_line_is_dropped_and_replaced_by_the_next_entry() {
        let folder = tempfile::tempdir().unwrap();
        let first = append_entry(folder.path());
        let path = folder.path().join(FILE_NAME);
        let complete = fs::read(&path).unwrap();
        for written_bytes in 1..complete.len() {
            fs::write(&path, [&complete[..], &complete[..written_bytes]].concat()).unwrap();
            let second = append_entry(folder.path());
            let (ledger, state) = Ledger::open(folder.path()).unwrap();
            assert_eq!(
                state.intents().count(),
                2,
                "truncated after {written_bytes} bytes"
            );
            assert_eq!(
                state.find_response(second.request.as_ref().unwrap()),
                Some(Ok(second.outcome))
            );
            drop(ledger);
            fs::write(&path, &complete).unwrap();
        }
        let (_ledger, state) = Ledger::open(folder.path()).unwrap();
        assert_eq!(
            state.find_response(first.request.as_ref().unwrap()),
            Some(Ok(first.outcome))
        );
    }

    #[test]
    fn an_outcome_hidden_by_an_error_is_applied_and_replayed_as_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let entry = LedgerEntry {
            is_hidden_by_error: true,
            ..append_entry(folder.path())
        };
        fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        let (mut ledger, _) = Ledger::open(folder.path()).unwrap();
        ledger.append(&entry).unwrap();
        drop(ledger);
        let (_ledger, state) = Ledger::open(folder.path()).unwrap();
        assert_eq!(state.intents().count(), 1);
        assert_eq!(
            state.find_response(entry.request.as_ref().unwrap()),
            Some(Ok(CommandOutcome::Rejected(ApiError::internal_error())))
        );
    }

    #[test]
    fn a_corrupt_line_in_the_middle_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        append_entry(folder.path());
        let path = folder.path().join(FILE_NAME);
        let complete = fs::read(&path).unwrap();
        fs::write(&path, [&complete[..], b"{\"outcome\":\n", &complete[..]].concat()).unwrap();
        assert!(matches!(
            Ledger::open(folder.path()),
            Err(LedgerOpenError::CorruptLine { line: 2, .. })
        ));
    }

    #[test]
    fn a_second_process_cannot_open_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let _open = Ledger::open(folder.path()).unwrap();
        assert!(matches!(
            Ledger::open(folder.path()),
            Err(LedgerOpenError::Locked)
        ));
    }
}
