//! `cargo xtask token`: a token without a password, for whoever runs the system.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cargo::{self, Executables};
use crate::environment::Addresses;
use crate::keys::{PeoplesKey, SERVICES_ISSUER, ServicesKey};
use crate::paths::{Instance, Kind};
use crate::supervise::now;
use crate::{Role, Token, seed, signals};

/// How long a token is valid.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Prints a token, and nothing else.
///
/// # Errors
/// When there are no keys yet, or an e-mail address is given to a service.
pub fn run(arguments: &Token) -> Result<ExitCode> {
    signals::end_with_reader()?;
    if arguments.role == Role::Service && arguments.email.is_some() {
        bail!("--email is for people; a service has none");
    }
    let instance = Instance::of(Kind::Development);
    let role = match arguments.role {
        Role::Customer => Some("customer"),
        Role::Admin => Some("admin"),
        Role::Service => None,
    };
    let token = match role {
        Some(role) => {
            let email = arguments
                .email
                .clone()
                .unwrap_or_else(|| format!("{}@example.com", arguments.user));
            let system = (&instance, &Addresses::remembered(&instance), &cargo::built()?);
            for_person(system, arguments.user, role, &email)?
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

/// A token for a customer or an administrator, who gets an account with the role if they have none.
///
/// # Errors
/// When there are no keys yet, or the database does not take the account.
pub fn for_person(
    (instance, addresses, built): (&Instance, &Addresses, &Executables),
    user: Uuid,
    role: &str,
    email: &str,
) -> Result<String> {
    let key = PeoplesKey::current(instance)?;
    seed::account((instance, addresses, built), user, email, role)?;
    let mut claims = claims(&addresses.front_door(), &user.to_string(), role);
    claims["email"] = email.into();
    key.sign(&claims)
}

/// A token for a program of ours; this tool is one, towards stock-service.
///
/// # Errors
/// When there are no keys yet.
pub fn for_service(instance: &Instance, name: &str) -> Result<String> {
    Ok(ServicesKey::current(instance)?.sign(&claims(SERVICES_ISSUER, name, "service")))
}

fn claims(issuer: &str, subject: &str, role: &str) -> Value {
    let now = now();
    json!({
        "iss": issuer,
        "aud": "matsuri",
        "sub": subject,
        "role": role,
        "iat": now,
        "exp": now + LIFETIME.as_secs(),
        // Its millisecond tells whether the account's tokens have been made invalid since.
        "jti": Uuid::now_v7().to_string(),
    })
}
