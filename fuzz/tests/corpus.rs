//! Every target over its corpus, and over bytes made of it: enough to keep the targets true, and what the fuzzer once
//! found from coming back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

/// Made inputs of each target; those of the payment client go over a socket.
fn case_count(target: &str) -> u32 {
    if target == "payment_answers" { 300 } else { 3000 }
}

fn read_corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has a corpus");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// What is done to an input: the bytes from a place on, so many of them, become others.
type Edit = (Index, u8, Vec<u8>);

fn apply_edits(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for (place, length, others) in edits {
        let from = place.index(bytes.len() + 1);
        let to = bytes.len().min(from + usize::from(length % 8));
        bytes.splice(from..to, others);
    }
    bytes
}

fn run_target(target: &str, body: fuzz::FuzzTarget) {
    let corpus = read_corpus(target);
    corpus.iter().for_each(|bytes| body(bytes));
    let edit = (
        any::<Index>(),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 0..6),
    );
    let made = (prop::sample::select(corpus), prop::collection::vec(edit, 0..5))
        .prop_map(|(bytes, edits)| apply_edits(bytes, edits));
    let any = prop::collection::vec(any::<u8>(), 0..200);
    let mut runner = TestRunner::new(Config {
        cases: case_count(target),
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&prop_oneof![4 => made, 1 => any], |bytes| {
        body(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn every_target_stands_its_corpus_and_what_is_made_of_it() {
    for (target, body) in fuzz::TARGETS {
        run_target(target, body);
    }
}
