//! Our own programs, each with the environment that it runs in.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::cargo::Executables;
use crate::environment::{Addresses, assignments};
use crate::keys;
use crate::paths::{Instance, Kind};
use crate::ports::FAULTS;
use crate::python;
use crate::supervise::{Health, Program};

/// How long our own programs may take to finish what they are at; they bound each part of it themselves.
const DRAIN: Duration = Duration::from_secs(20);

/// The third party that takes the money.
///
/// # Errors
/// When it was not built.
pub fn payment_provider(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<Program> {
    let own = assignments([("DATA_DIR", instance.payments().display().to_string())]);
    service("payment-provider", "/health", own, instance, addresses, built)
}

/// What stands between the other programs and fails on command.
///
/// # Errors
/// When it was not built.
pub fn faults(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<Program> {
    let proxy = |name: &str| {
        let (proxy, behind) = (addresses.port(&format!("{FAULTS}-{name}")), addresses.port(name));
        format!("{proxy} 127.0.0.1:{behind}")
    };
    let own = assignments([
        ("AWS_PROXY", proxy("ministack")),
        ("STOCK_SERVICE_PROXY", proxy("stock-service")),
        ("PAYMENT_PROVIDER_PROXY", proxy("payment-provider")),
        ("POSTGRES_PROXY", proxy("postgres")),
    ]);
    service(FAULTS, "/health", own, instance, addresses, built)
}

/// Somebody else's stand-in for Stripe, which the payment client is tested against as well. It listens on all
/// addresses and keeps a file in /tmp; both are its own choice.
pub fn localstripe(instance: &Instance, addresses: &Addresses) -> Program {
    let port = addresses.port("localstripe");
    Program {
        name: "localstripe",
        executable: python::SYSTEM.command("localstripe"),
        arguments: ["--from-scratch", "--port"]
            .map(str::to_owned)
            .into_iter()
            .chain([port.to_string()])
            .collect(),
        environment: surroundings(instance),
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health: Health::Http("/js.stripe.com/v3/".to_owned()),
        stop_signal: Signal::TERM,
        stop_within: DRAIN,
    }
}

/// Somebody else's OpenID Connect provider, where Google would be.
pub fn identity_provider(instance: &Instance, addresses: &Addresses) -> Program {
    let port = addresses.port("identity-provider");
    Program {
        name: "identity-provider",
        executable: python::SYSTEM.command("oidc-provider-mock"),
        arguments: vec!["--port".to_owned(), port.to_string()],
        environment: surroundings(instance),
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health: Health::Http("/.well-known/openid-configuration".to_owned()),
        stop_signal: Signal::TERM,
        stop_within: DRAIN,
    }
}

/// Removes the file that localstripe leaves behind.
pub fn tidy_up_after_localstripe() {
    // Another checkout's tests may have removed it, or may be using it: it is written anew with every request.
    let _ = std::fs::remove_file("/tmp/localstripe.pickle");
}

/// The only writer of stock.
///
/// # Errors
/// When it was not built.
pub fn stock_service(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<Program> {
    let seen = addresses.of_programs();
    let mut own = seen.aws_variables();
    own.extend(assignments([
        ("DATABASE_URL", seen.database),
        (
            "AUTH_JWKS_PATH",
            keys::services_key_set(instance).display().to_string(),
        ),
        ("SHUTDOWN_DRAIN_SECONDS", "0".to_owned()),
    ]));
    service("stock-service", "/ready", own, instance, addresses, built)
}

/// The shop's REST API.
///
/// # Errors
/// When it was not built.
pub fn core_api(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<Program> {
    let mut environment = core_api_environment(addresses);
    // The front door says who asks.
    environment.extend(assignments([
        ("TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        ("CLIENT_ADDRESS_HEADER", "client-address".to_owned()),
    ]));
    environment.extend(addresses.redis().map(|url| ("REDIS_URL".to_owned(), url)));
    if instance.kind() != Kind::Development {
        // A test is one address, and asks for more than people do.
        environment.extend(assignments([("RATE_LIMIT_FACTOR", "100000".to_owned())]));
    }
    service("core-api", "/ready", environment, instance, addresses, built)
}

/// What `core-api` reads, also when it migrates or seeds.
pub fn core_api_environment(addresses: &Addresses) -> Vec<(String, String)> {
    let seen = addresses.of_programs();
    let mut own = seen.aws_variables();
    own.extend(assignments([
        ("DATABASE_URL", seen.database),
        ("AUTH_ISSUER", addresses.front_door()),
        // No load balancer has to notice that we go.
        ("SHUTDOWN_DRAIN_SECONDS", "0".to_owned()),
    ]));
    own
}

fn service(
    name: &'static str,
    health: &'static str,
    own: Vec<(String, String)>,
    instance: &Instance,
    addresses: &Addresses,
    built: &Executables,
) -> Result<Program> {
    let port = addresses.port(name);
    let mut environment = surroundings(instance);
    environment.extend(own);
    environment.extend(assignments([
        ("PORT", port.to_string()),
        ("BIND_ADDRESS", "127.0.0.1".to_owned()),
    ]));
    // The one wish of the person at the keyboard that reaches the programs.
    environment.extend(
        std::env::var("LOG_LEVEL")
            .ok()
            .map(|level| ("LOG_LEVEL".to_owned(), level)),
    );
    Ok(Program {
        name,
        executable: executable(built, name)?,
        arguments: Vec::new(),
        environment,
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health: Health::Http(health.to_owned()),
        stop_signal: Signal::TERM,
        stop_within: DRAIN,
    })
}

/// The executable of a program that was built.
///
/// # Errors
/// When it was not.
pub fn executable(built: &Executables, name: &str) -> Result<PathBuf> {
    built
        .get(name)
        .cloned()
        .with_context(|| format!("{name} was not built"))
}

/// What any process needs of its surroundings. HOME is a folder of ours: a developer's own `~/.aws` must not change
/// what the programs do.
pub fn surroundings(instance: &Instance) -> Vec<(String, String)> {
    assignments([
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("HOME", instance.temporary().display().to_string()),
        ("TMPDIR", instance.temporary().display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("RUST_BACKTRACE", "1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ])
}
