//! How each service is run: executable, arguments, environment, health check.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::cargo::Executables;
use crate::environment::{Addresses, to_env_vars};
use crate::instance::{Instance, InstanceKind};
use crate::keys;
use crate::ports::{FAULT_INJECTION, proxy_name};
use crate::python;
use crate::supervisor::{HealthCheck, ServiceSpec};

/// How long a service may take to finish its requests before it is killed. Our services have shorter timeouts
/// for each part of their own shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The payment provider simulator.
///
/// # Errors
/// When cargo did not build it.
pub fn payment_provider(
    instance: &Instance,
    addresses: &Addresses,
    executables: &Executables,
) -> Result<ServiceSpec> {
    let webhook_url = format!("{}/v1/webhooks/payment-provider", addresses.gateway_url());
    let environment = to_env_vars([
        ("DATA_DIR", instance.payments_dir().display().to_string()),
        ("WEBHOOK_URL", webhook_url),
        // localstack-init/ready.d/10-deploy.sh gives it to the webhook function.
        ("WEBHOOK_SECRET", "whsec_local".to_owned()),
    ]);
    workspace_service(
        "payment-provider",
        "/health",
        environment,
        instance,
        addresses,
        executables,
    )
}

/// The fault injection service, with a TCP proxy in front of each service that may fail.
///
/// # Errors
/// When cargo did not build it.
pub fn fault_injection(
    instance: &Instance,
    addresses: &Addresses,
    executables: &Executables,
) -> Result<ServiceSpec> {
    let proxy = |name: &str| {
        let (proxy_port, upstream_port) = (addresses.port(&proxy_name(name)), addresses.port(name));
        format!("{proxy_port} 127.0.0.1:{upstream_port}")
    };
    let environment = to_env_vars([
        ("AWS_PROXY", proxy("ministack")),
        ("STOCK_SERVICE_PROXY", proxy("stock-service")),
        ("PAYMENT_PROVIDER_PROXY", proxy("payment-provider")),
        ("POSTGRES_PROXY", proxy("postgres")),
        ("POSTGRES_TLS_DIR", instance.keys_dir().display().to_string()),
    ]);
    workspace_service(
        FAULT_INJECTION,
        "/health",
        environment,
        instance,
        addresses,
        executables,
    )
}

/// localstripe, a third-party Stripe simulator that the tests of the payment client use as a second
/// implementation. It listens on all interfaces and writes a file to /tmp; neither can be configured.
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

/// A third-party OpenID Connect provider that replaces Google in tests.
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

/// Removes the file that localstripe writes to /tmp.
pub fn remove_localstripe_file() {
    // The tests of another checkout may have removed it already, or may use it now. Removing it is safe
    // either way, because localstripe rewrites it with every request.
    let _ = std::fs::remove_file("/tmp/localstripe.pickle");
}

/// # Errors
/// When cargo did not build it.
pub fn stock_service(
    instance: &Instance,
    addresses: &Addresses,
    executables: &Executables,
) -> Result<ServiceSpec> {
    let proxied = addresses.via_proxies();
    let mut environment = proxied.aws_env();
    environment.extend(to_env_vars([
        (
            "DATABASE_CREDENTIALS_SECRET",
            "stock-service/db-credentials".to_owned(),
        ),
        (
            "AUTH_JWKS_PATH",
            keys::service_jwks_file(instance).display().to_string(),
        ),
        ("SHUTDOWN_DRAIN_SECONDS", "0".to_owned()),
    ]));
    environment.extend(addresses.redis_url().map(|url| ("REDIS_URL".to_owned(), url)));
    workspace_service(
        "stock-service",
        "/ready",
        environment,
        instance,
        addresses,
        executables,
    )
}

/// # Errors
/// When cargo did not build it.
pub fn core_api(
    instance: &Instance,
    addresses: &Addresses,
    executables: &Executables,
) -> Result<ServiceSpec> {
    let mut environment = core_api_env(addresses);
    // The API gateway passes the client's IP address in this header.
    environment.extend(to_env_vars([
        ("TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        ("CLIENT_IP_HEADER", "client-address".to_owned()),
    ]));
    environment.extend(addresses.redis_url().map(|url| ("REDIS_URL".to_owned(), url)));
    // An order of more units than the stock shows how the saga compensates.
    for limit in ["MAX_UNITS_PER_ORDER", "UNVERIFIED_MAX_UNITS_PER_ORDER"] {
        environment.extend(to_env_vars([(limit, "1000000".to_owned())]));
    }
    if instance.kind() != InstanceKind::Development {
        // All requests of the tests come from one IP address, and those of a benchmark from one account.
        environment.extend(to_env_vars([
            ("RATE_LIMIT_MULTIPLIER", "100000".to_owned()),
            ("MAX_OPEN_ORDERS", "0".to_owned()),
            ("UNVERIFIED_MAX_OPEN_ORDERS", "0".to_owned()),
        ]));
    }
    workspace_service(
        "core-api",
        "/ready",
        environment,
        instance,
        addresses,
        executables,
    )
}

/// The variables that `core-api` reads when it serves or seeds.
pub fn core_api_env(addresses: &Addresses) -> Vec<(String, String)> {
    let proxied = addresses.via_proxies();
    let mut environment = proxied.aws_env();
    environment.extend(to_env_vars([
        (
            "DATABASE_CREDENTIALS_SECRET",
            "core-api/db-credentials".to_owned(),
        ),
        ("AUTH_ISSUER", addresses.gateway_url()),
        // Customers follow a link without the proxies, which do not keep the signed host.
        ("RECEIPT_LINK_ENDPOINT", addresses.aws_endpoint_url()),
        ("WS_API_URL", addresses.websocket_api_url()),
        // There is no load balancer that needs time to notice the shutdown.
        ("SHUTDOWN_DRAIN_SECONDS", "0".to_owned()),
    ]));
    environment
}

/// The variables with which `core-api` migrates the database and creates accounts, as the database's owner.
pub fn database_owner_env(addresses: &Addresses) -> Vec<(String, String)> {
    to_env_vars([
        ("DATABASE_URL", addresses.database_url.clone()),
        ("CORE_API_DATABASE_PASSWORD", addresses.role_password("core_api")),
        (
            "STOCK_SERVICE_DATABASE_PASSWORD",
            addresses.role_password("stock_service"),
        ),
        ("AUTH_DATABASE_PASSWORD", addresses.role_password("auth")),
    ])
}

fn workspace_service(
    name: &'static str,
    health_path: &'static str,
    extra_env: Vec<(String, String)>,
    instance: &Instance,
    addresses: &Addresses,
    executables: &Executables,
) -> Result<ServiceSpec> {
    let port = addresses.port(name);
    let mut environment = base_env(instance);
    environment.extend(extra_env);
    environment.extend(to_env_vars([
        ("PORT", port.to_string()),
        ("BIND_ADDRESS", "127.0.0.1".to_owned()),
    ]));
    // The only variable of the developer's shell that services inherit.
    environment.extend(
        std::env::var("LOG_LEVEL")
            .ok()
            .map(|level| ("LOG_LEVEL".to_owned(), level)),
    );
    Ok(ServiceSpec {
        name,
        executable: executable_path(executables, name)?,
        arguments: Vec::new(),
        environment,
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health_check: HealthCheck::Http(health_path.to_owned()),
        stop_signal: Signal::TERM,
        stop_timeout: STOP_TIMEOUT,
    })
}

/// # Errors
/// When cargo did not build an executable of this name.
pub fn executable_path(executables: &Executables, name: &str) -> Result<PathBuf> {
    executables
        .get(name)
        .cloned()
        .with_context(|| format!("cargo built no executable {name}"))
}

/// The variables that every child process needs. HOME is a temporary folder, so that the developer's `~/.aws`
/// does not change the behaviour of the services.
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
