//! Tests the services against their OpenAPI descriptions: schemathesis sends valid and invalid requests and
//! checks the responses.

use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::Result;
use uuid::Uuid;

use super::run_with_system;
use crate::commands::token;
use crate::progress::{BOLD, run_step};
use crate::signals::Interrupt;
use crate::system::RunningSystem;
use crate::{instance, python};

/// A fixed seed, for the same cases in every run. If another seed finds a failure, write a test for it.
const SEED: &str = "1";

/// The number of cases per operation and phase.
const MAX_EXAMPLES: &str = "25";

/// Excluded because an OpenAPI description cannot express some constraints, so that schemathesis reports
/// correct responses as failures: a cursor is a string, but only strings that a list returned are valid; an
/// Idempotency-Key can be used only with the request that used it first.
const EXCLUDED_CHECKS: &str = "positive_data_acceptance";

/// Excluded for the auth functions because API Gateway sends a request with another method to core-api, whose
/// route requires a token.
const EXCLUDED_CHECKS_OF_AUTH: &str = "positive_data_acceptance,unsupported_method";

/// The tag of the operations that the auth functions serve.
const AUTHENTICATION: &str = "Authentication";

/// An API under test.
struct Api {
    /// The service, and as whom it is called.
    name: String,
    /// The file of the description, relative to the root of the repository.
    description: &'static str,
    url: String,
    access_token: Option<String>,
    /// Whether the operations are those of the auth functions in the description, or all others.
    is_authentication: bool,
}

/// Checks every operation, those of core-api with each role: no response is a 5xx, every response matches the
/// description, and invalid requests are rejected. schemathesis prints its own progress and, for a failure,
/// the request that reproduces it.
///
/// # Errors
/// When schemathesis cannot be installed or run.
pub fn run(system: &mut RunningSystem, interrupt: &Interrupt) -> Result<ExitStatus> {
    run_step("schemathesis", |step| python::API_TESTS.install(step))?;
    let [customer, admin, auth, stock_service] = apis(system)?;
    let mut status = check(customer, system, interrupt)?;
    for api in [admin, auth, stock_service] {
        if status.success() {
            status = check(api, system, interrupt)?;
        }
    }
    Ok(status)
}

fn apis(system: &RunningSystem) -> Result<[Api; 4]> {
    let core_api = |role| {
        let user = Uuid::new_v4();
        let access_token = system.user_token(user, role, &format!("{user}@example.com"))?;
        anyhow::Ok(Api {
            name: format!("core-api, as {role}"),
            description: "docs/openapi.json",
            url: system.addresses.core_api_url(),
            access_token: Some(access_token),
            is_authentication: false,
        })
    };
    Ok([
        core_api("customer")?,
        core_api("admin")?,
        Api {
            name: "the auth functions".to_owned(),
            description: "docs/openapi.json",
            url: system.addresses.gateway_url(),
            access_token: None,
            is_authentication: true,
        },
        Api {
            name: "stock-service, as a service".to_owned(),
            description: "docs/openapi-stock-service.json",
            url: system.addresses.stock_service_url(),
            access_token: Some(token::for_service(system.instance(), "schemathesis")?),
            is_authentication: false,
        },
    ])
}

fn check(api: Api, system: &mut RunningSystem, interrupt: &Interrupt) -> Result<ExitStatus> {
    anstream::eprintln!("\n{BOLD}OpenAPI description{BOLD:#} of {}, seed {SEED}", api.name);
    let (tag_option, excluded_checks) = if api.is_authentication {
        ("--include-tag", EXCLUDED_CHECKS_OF_AUTH)
    } else {
        ("--exclude-tag", EXCLUDED_CHECKS)
    };
    let mut command = Command::new(python::API_TESTS.command("st"));
    command
        .current_dir(system.instance().directory())
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis.toml"))
        .arg("run")
        .arg(instance::repository_root().join(api.description))
        .args(["--url", &api.url])
        .args([tag_option, AUTHENTICATION])
        .args(["--checks", "all", "--exclude-checks", excluded_checks])
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
    if let Some(token) = api.access_token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    run_with_system(system, command, interrupt)
}
