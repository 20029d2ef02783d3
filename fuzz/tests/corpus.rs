//! Runs every target on its corpus and on mutations of it. This keeps the targets valid and prevents
//! regressions of earlier findings.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

/// The number of mutated inputs. The payment client is slower, because it uses a socket.
fn case_count(target: &str) -> u32 {
    if target == "payment_responses" { 300 } else { 3000 }
}

fn read_corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A mutation of an input: (offset, number of replaced bytes, replacement).
type Edit = (Index, u8, Vec<u8>);

fn apply_edits(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for (offset, length, replacement) in edits {
        let from = offset.index(bytes.len() + 1);
        let to = bytes.len().min(from + usize::from(length % 8));
        bytes.splice(from..to, replacement);
    }
    bytes
}

fn run_target(name: &str, target: fuzz::FuzzTarget) {
    let corpus = read_corpus(name);
    corpus.iter().for_each(|bytes| target(bytes));
    let edit = (
        any::<Index>(),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 0..6),
    );
    let mutated = (prop::sample::select(corpus), prop::collection::vec(edit, 0..5))
        .prop_map(|(bytes, edits)| apply_edits(bytes, edits));
    let random = prop::collection::vec(any::<u8>(), 0..200);
    let mut runner = TestRunner::new(Config {
        cases: case_count(name),
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&prop_oneof![4 => mutated, 1 => random], |bytes| {
        target(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn every_target_accepts_its_corpus_and_mutations_of_it() {
    for (name, target) in fuzz::TARGETS {
        run_target(name, target);
    }
}
