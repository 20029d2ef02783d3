//! Our own programs, each with the environment that it runs in.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::cargo::Executables;
use crate::environment::{Addresses, to_env_vars};
use crate::instance::{Instance, InstanceKind};
use crate::keys;
use crate::ports::FAULT_INJECTION;
use crate::python;
use crate::supervisor::{HealthCheck, ServiceSpec};

/// How long our own programs may take to finish what they are at; they bound each part of it themselves.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The third party that takes the money.
///
/// # Errors
/// When it was not built.
pub fn payment_provider(
    instance: &Instance,
    addresses: &Addresses,
    built: &Executables,
) -> Result<ServiceSpec> {
    let own = to_env_vars([("DATA_DIR", instance.payments_dir().display().to_string())]);
    workspace_service("payment-provider", "/health", own, instance, addresses, built)
}

/// What stands between the other programs and fails on command.
///
/// # Errors
/// When it was not built.
pub fn fault_injection(
    instance: &Instance,
    addresses: &Addresses,
    built: &Executables,
) -> Result<ServiceSpec> {
    let proxy = |name: &str| {
        let (proxy, behind) = (
            addresses.port(&format!("{FAULT_INJECTION}-{name}")),
            addresses.port(name),
        );
        format!("{proxy} 127.0.0.1:{behind}")
    };
    let own = to_env_vars([
        ("AWS_PROXY", proxy("ministack")),
        ("STOCK_SERVICE_PROXY", proxy("stock-service")),
        ("PAYMENT_PROVIDER_PROXY", proxy("payment-provider")),
        ("POSTGRES_PROXY", proxy("postgres")),
    ]);
    workspace_service(FAULT_INJECTION, "/health", own, instance, addresses, built)
}

/// Somebody else's stand-in for Stripe, which the payment client is tested against as well. It listens on all
/// addresses and keeps a file in /tmp; both are its own choice.
pub fn localstripe(instance: &Instance, addresses: &Addresses) -> ServiceSpec {
    let port = addresses.port("localstripe");
    ServiceSpec {
        name: "localstripe",
        executable: python::LOCAL_SYSTEM.command("localstripe"),
        arguments: ["--from-scratch", "--port"]
            .map(str::to_owned)
            .into_iter()
            .chain([port.to_string()])
            .collect(),
        environment: base_env(instance),
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health_check: HealthCheck::Http("/js.stripe.com/v3/".to_owned()),
        stop_signal: Signal::TERM,
        stop_timeout: STOP_TIMEOUT,
    }
}

/// Somebody else's OpenID Connect provider, where Google would be.
pub fn identity_provider(instance: &Instance, addresses: &Addresses) -> ServiceSpec {
    let port = addresses.port("identity-provider");
    ServiceSpec {
        name: "identity-provider",
        executable: python::LOCAL_SYSTEM.command("oidc-provider-mock"),
        arguments: vec!["--port".to_owned(), port.to_string()],
        environment: base_env(instance),
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health_check: HealthCheck::Http("/.well-known/openid-configuration".to_owned()),
        stop_signal: Signal::TERM,
        stop_timeout: STOP_TIMEOUT,
    }
}

/// Removes the file that localstripe leaves behind.
pub fn remove_localstripe_file() {
    // Another checkout's tests may have removed it, or may be using it: it is written anew with every request.
    let _ = std::fs::remove_file("/tmp/localstripe.pickle");
}

/// The only writer of stock.
///
/// # Errors
/// When it was not built.
pub fn stock_service(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<ServiceSpec> {
    let seen = addresses.via_proxies();
    let mut own = seen.aws_env();
    own.extend(to_env_vars([
        ("DATABASE_URL", seen.database_url),
        (
            "AUTH_JWKS_PATH",
            keys::service_jwks_file(instance).display().to_string(),
        ),
        ("SHUTDOWN_DRAIN_SECONDS", "0".to_owned()),
    ]));
    workspace_service("stock-service", "/ready", own, instance, addresses, built)
}

/// The shop's REST API.
///
/// # Errors
/// When it was not built.
pub fn core_api(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<ServiceSpec> {
    let mut environment = core_api_env(addresses);
    // The front door says who asks.
    environment.extend(to_env_vars([
        ("TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        ("CLIENT_IP_HEADER", "client-address".to_owned()),
    ]));
    environment.extend(addresses.redis_url().map(|url| ("REDIS_URL".to_owned(), url)));
    if instance.kind() != InstanceKind::Development {
        // A test is one address, and asks for more than people do.
        environment.extend(to_env_vars([("RATE_LIMIT_MULTIPLIER", "100000".to_owned())]));
    }
    workspace_service("core-api", "/ready", environment, instance, addresses, built)
}

/// What `core-api` reads, also when it migrates or seeds.
pub fn core_api_env(addresses: &Addresses) -> Vec<(String, String)> {
    let seen = addresses.via_proxies();
    let mut own = seen.aws_env();
    own.extend(to_env_vars([
        ("DATABASE_URL", seen.database_url),
        ("AUTH_ISSUER", addresses.gateway_url()),
        // No load balancer has to notice that we go.
        ("SHUTDOWN_DRAIN_SECONDS", "0".to_owned()),
    ]));
    own
}

fn workspace_service(
    name: &'static str,
    health: &'static str,
    own: Vec<(String, String)>,
    instance: &Instance,
    addresses: &Addresses,
    built: &Executables,
) -> Result<ServiceSpec> {
    let port = addresses.port(name);
    let mut environment = base_env(instance);
    environment.extend(own);
    environment.extend(to_env_vars([
        ("PORT", port.to_string()),
        ("BIND_ADDRESS", "127.0.0.1".to_owned()),
    ]));
    // The one wish of the person at the keyboard that reaches the programs.
    environment.extend(
        std::env::var("LOG_LEVEL")
            .ok()
            .map(|level| ("LOG_LEVEL".to_owned(), level)),
    );
    Ok(ServiceSpec {
        name,
        executable: executable_path(built, name)?,
        arguments: Vec::new(),
        environment,
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health_check: HealthCheck::Http(health.to_owned()),
        stop_signal: Signal::TERM,
        stop_timeout: STOP_TIMEOUT,
    })
}

/// The executable of a program that was built.
///
/// # Errors
/// When it was not.
pub fn executable_path(built: &Executables, name: &str) -> Result<PathBuf> {
    built
        .get(name)
        .cloned()
        .with_context(|| format!("{name} was not built"))
}

/// What any process needs of its surroundings. HOME is a folder of ours: a developer's own `~/.aws` must not change
/// what the programs do.
pub fn base_env(instance: &Instance) -> Vec<(String, String)> {
    to_env_vars([
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("HOME", instance.temp_dir().display().to_string()),
        ("TMPDIR", instance.temp_dir().display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("RUST_BACKTRACE", "1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ])
}
