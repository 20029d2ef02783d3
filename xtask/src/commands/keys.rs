//! `cargo xtask keys`: creates the keys for a system in containers. `cargo xtask keys rotate`: rotates the
//! signing keys of user tokens.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::aws::AwsTarget;
use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, GREEN, run_step};
use crate::signing_keys::SigningKeys;
use crate::{RotateArgs, keys, python, system};

/// The secret from which the functions read the signing keys.
const SIGNING_KEYS_SECRET: &str = "ecommerce/user-signing-keys";

/// Creates the missing keys.
///
/// # Errors
/// When a key cannot be created.
pub fn run() -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Development);
    system::prepare_keys(&instance)?;
    anstream::eprintln!("  the keys are in {}", instance.keys_dir().display());
    Ok(ExitCode::SUCCESS)
}

/// Activates the next signing key of user tokens.
///
/// # Errors
/// When a rotation is in progress, or the keys cannot be read or written.
pub fn rotate(arguments: &RotateArgs) -> Result<ExitCode> {
    let target = AwsTarget::from_flag(arguments.aws)?;
    // The environment generates RSA keys, and may have the only aws command of the machine.
    run_step("Python environment", |step| python::LOCAL_SYSTEM.install(step))?;
    let now = SystemTime::now().into();
    let mut signing_keys = read_signing_keys(&target)?;
    let result = if signing_keys.is_empty() {
        signing_keys = SigningKeys::initial(now, [keys::generate_user_key()?, keys::generate_user_key()?]);
        "created the first signing keys; one signs from now on".to_owned()
    } else {
        let overlap = TimeDelta::seconds(arguments.overlap_seconds.into());
        let rotation = signing_keys.rotate(now, overlap, keys::generate_user_key()?)?;
        let removed = match &rotation.removed[..] {
            [] => String::new(),
            removed => format!("; removed: {}", removed.join(", ")),
        };
        let signs_from = rotation.signs_from.format("%F %T UTC");
        format!(
            "{BOLD}{}{BOLD:#} signs from {signs_from} on{removed}",
            rotation.next
        )
    };
    if let AwsTarget::Local(_) = target {
        // The next deployment copies this file to Secrets Manager.
        keys::save_user_signing_keys(&Instance::from_env(), &signing_keys)?;
    }
    let text = serde_json::to_string(&signing_keys)?;
    let input = json!({ "SecretId": SIGNING_KEYS_SECRET, "SecretString": text });
    target
        .call("secretsmanager", "PutSecretValue", &input)
        .with_context(|| format!("cannot write {SIGNING_KEYS_SECRET}; the keys are unchanged"))?;
    anstream::eprintln!("  {GREEN}✓{GREEN:#} {result}");
    Ok(ExitCode::SUCCESS)
}

/// Reads the current keys; returns none if the secret never had a value.
fn read_signing_keys(target: &AwsTarget) -> Result<SigningKeys> {
    let response = target.call(
        "secretsmanager",
        "GetSecretValue",
        &json!({ "SecretId": SIGNING_KEYS_SECRET }),
    );
    let response = match response {
        // The error message of AWS for a secret without a value mentions the missing version AWSCURRENT.
        Err(error) if error.to_string().contains("AWSCURRENT") => return Ok(SigningKeys::default()),
        response => response.with_context(|| format!("cannot read {SIGNING_KEYS_SECRET}"))?,
    };
    match response.get("SecretString").and_then(Value::as_str) {
        None | Some("") => Ok(SigningKeys::default()),
        // Drops the parse error, because it might quote a private key.
        Some(text) => serde_json::from_str(text).map_err(|_| {
            anyhow::anyhow!("{SIGNING_KEYS_SECRET} is not a list of keys with signs_from and made_at")
        }),
    }
}
