//! `cargo xtask token`: prints an access token for the local system without a sign-in.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cargo::{self, Executables};
use crate::environment::Addresses;
use crate::instance::{Instance, InstanceKind};
use crate::keys::{SERVICE_TOKEN_ISSUER, ServiceTokenKey, UserTokenKey};
use crate::supervisor::unix_seconds_now;
use crate::{TokenArgs, TokenRole, seed, signals};

/// The validity of a token.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// # Errors
/// When there are no keys yet, or an e-mail address is given for a service.
pub fn run(arguments: &TokenArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    if arguments.role == TokenRole::Service && arguments.email.is_some() {
        bail!("--email cannot be used with --role service: service tokens have no e-mail address");
    }
    let instance = Instance::new(InstanceKind::Development);
    let role = match arguments.role {
        TokenRole::Customer => Some("customer"),
        TokenRole::Admin => Some("admin"),
        TokenRole::Service => None,
    };
    let token = match role {
        Some(role) => {
            let email = arguments
                .email
                .clone()
                .unwrap_or_else(|| format!("{}@example.com", arguments.user));
            let system = (
                &instance,
                &Addresses::from_last_run(&instance),
                &cargo::last_build()?,
            );
            for_user(system, arguments.user, role, &email)?
        }
        None => for_service(&instance, &arguments.user.to_string())?,
    };
    if arguments.json {
        println!(
            "{}",
            json!({ "token": token, "expires_in_seconds": LIFETIME.as_secs() })
        );
    } else {
        println!("{token}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates or updates the user's account with the role and the e-mail address, and returns a token for it.
///
/// # Errors
/// When there are no keys yet, or another account has the e-mail address.
pub fn for_user(
    (instance, addresses, executables): (&Instance, &Addresses, &Executables),
    user: Uuid,
    role: &str,
    email: &str,
) -> Result<String> {
    let key = UserTokenKey::load_active(instance)?;
    seed::upsert_account((instance, addresses, executables), user, email, role)?;
    let mut claims = claims(&addresses.gateway_url(), &user.to_string(), role);
    claims["email"] = email.into();
    key.sign(&claims)
}

/// Returns a customer's token for an account that exists, which stays as it is.
///
/// # Errors
/// When there are no keys yet.
pub fn for_existing_user(instance: &Instance, addresses: &Addresses, user: &str) -> Result<String> {
    let key = UserTokenKey::load_active(instance)?;
    key.sign(&claims(&addresses.gateway_url(), user, "customer"))
}

/// Returns a service token. xtask uses one itself to call stock-service.
///
/// # Errors
/// When there are no keys yet.
pub fn for_service(instance: &Instance, name: &str) -> Result<String> {
    Ok(ServiceTokenKey::load(instance)?.sign(&claims(SERVICE_TOKEN_ISSUER, name, "service")))
}

fn claims(issuer: &str, subject: &str, role: &str) -> Value {
    let now = unix_seconds_now();
    json!({
        "iss": issuer,
        "aud": "matsuri",
        "sub": subject,
        "role": role,
        "iat": now,
        "exp": now + LIFETIME.as_secs(),
        // The timestamp of the UUID shows whether the account's tokens were invalidated after this one was
        // issued.
        "jti": Uuid::now_v7().to_string(),
    })
}
