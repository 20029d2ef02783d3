//! `cargo xtask token`: what a login will give one day.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::keys::{Domain, SigningKey};
use crate::paths::{Instance, Kind};
use crate::supervise::now;
use crate::{Role, Token, signals};

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
            for_person(&instance, arguments.user, role, &email)?
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

/// A token for a customer or an administrator.
///
/// # Errors
/// When there are no keys yet.
pub fn for_person(instance: &Instance, user: Uuid, role: &str, email: &str) -> Result<String> {
    let mut claims = claims(Domain::Customers, &user.to_string(), role);
    claims["email"] = email.into();
    SigningKey::read(instance, Domain::Customers)?.sign(&claims)
}

/// A token for a program of ours; this tool is one, towards stock-service.
///
/// # Errors
/// When there are no keys yet.
pub fn for_service(instance: &Instance, name: &str) -> Result<String> {
    SigningKey::read(instance, Domain::Services)?.sign(&claims(Domain::Services, name, "service"))
}

fn claims(domain: Domain, subject: &str, role: &str) -> Value {
    let now = now();
    json!({
        "iss": domain.issuer(),
        "aud": "matsuri",
        "sub": subject,
        "role": role,
        "iat": now,
        "exp": now + LIFETIME.as_secs(),
        "jti": Uuid::new_v4().to_string(),
    })
}
