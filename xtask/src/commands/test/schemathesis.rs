//! The running API against its own description: schemathesis sends what the description allows, and what it does not.

use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::Result;
use uuid::Uuid;

use super::run_with_system;
use crate::progress::{BOLD, run_step};
use crate::python;
use crate::signals::Interrupt;
use crate::system::RunningSystem;

/// The same cases every time; a case that is found with another seed becomes a test of ours.
const SEED: &str = "1";

/// Cases for each operation and phase.
const MAX_EXAMPLES: &str = "25";

/// What no description can say, so that schemathesis takes a good answer for a bad one: a cursor is a text, but only
/// one that a list gave; an Idempotency-Key of an example belongs to the request that it came with first.
const EXCLUDED_CHECKS: &str = "positive_data_acceptance";

/// Whose tokens are sent.
const ROLES: [&str; 2] = ["customer", "admin"];

/// Checks every operation as each role: no 5xx, no answer that is not described, nothing accepted that is described as
/// wrong. schemathesis shows its own progress, and for a failure the request that repeats it.
///
/// # Errors
/// When schemathesis cannot be installed or run.
pub fn run(system: &mut RunningSystem, interrupt: &Interrupt) -> Result<ExitStatus> {
    run_step("schemathesis", |step| python::API_TESTS.install(step))?;
    let [first, second] = ROLES;
    let status = run_as(first, system, interrupt)?;
    if status.success() {
        run_as(second, system, interrupt)
    } else {
        Ok(status)
    }
}

fn run_as(role: &str, system: &mut RunningSystem, interrupt: &Interrupt) -> Result<ExitStatus> {
    anstream::eprintln!("\n{BOLD}core-api against its description{BOLD:#}, as {role}, seed {SEED}");
    let person = Uuid::new_v4();
    let email = format!("{person}@example.com");
    let token = system.user_token(person, role, &email)?;
    let mut command = Command::new(python::API_TESTS.command("st"));
    command
        .current_dir(system.instance().directory())
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis.toml"))
        .args([
            "run",
            &format!("{}/openapi.json", system.addresses.core_api_url()),
        ])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all", "--exclude-checks", EXCLUDED_CHECKS])
        .args([
            "--seed",
            SEED,
            "--max-examples",
            MAX_EXAMPLES,
            "--generation-database",
            "none",
        ])
        .args([
            "--continue-on-failure",
            "--no-shrink",
            "--warnings",
            "off",
            "--no-color",
        ]);
    run_with_system(system, command, interrupt)
}
