//! `cargo xtask keys`: for those who bring the system up in containers. `cargo xtask keys rotate`: another key for
//! people's tokens.

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

/// Where the functions read the keys.
const SIGNING_KEYS_SECRET: &str = "ecommerce/user-signing-keys";

/// Makes the keys that are missing.
///
/// # Errors
/// When they cannot be made.
pub fn run() -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Development);
    system::prepare_keys(&instance)?;
    anstream::eprintln!("  the keys lie in {}", instance.keys_dir().display());
    Ok(ExitCode::SUCCESS)
}

/// Lets the next key sign.
///
/// # Errors
/// When a rotation is under way, or the keys cannot be read or written.
pub fn rotate(arguments: &RotateArgs) -> Result<ExitCode> {
    let cloud = AwsTarget::from_flag(arguments.aws)?;
    // It makes keys, and may have the only aws command there is.
    run_step("Python environment", |step| python::LOCAL_SYSTEM.install(step))?;
    let now = SystemTime::now().into();
    let mut signing_keys = read_signing_keys(&cloud)?;
    let said = if signing_keys.is_empty() {
        signing_keys = SigningKeys::initial(now, [keys::generate_user_key()?, keys::generate_user_key()?]);
        "the first key signs from now on".to_owned()
    } else {
        let overlap = TimeDelta::seconds(arguments.overlap_seconds.into());
        let done = signing_keys.rotate(now, overlap, keys::generate_user_key()?)?;
        let removed = match &done.removed[..] {
            [] => String::new(),
            gone => format!("; removed: {}", gone.join(", ")),
        };
        let from = done.signs_from.format("%F %T UTC");
        format!("{BOLD}{}{BOLD:#} signs from {from} on{removed}", done.next)
    };
    if let AwsTarget::Local(_) = cloud {
        // A later deployment puts these.
        keys::save_user_signing_keys(&Instance::from_env(), &signing_keys)?;
    }
    let text = serde_json::to_string(&signing_keys)?;
    let input = json!({ "SecretId": SIGNING_KEYS_SECRET, "SecretString": text });
    cloud
        .call("secretsmanager", "PutSecretValue", &input)
        .with_context(|| format!("{SIGNING_KEYS_SECRET} is as it was"))?;
    anstream::eprintln!("  {GREEN}✓{GREEN:#} {said}");
    Ok(ExitCode::SUCCESS)
}

/// The keys as they are; none where the secret never had a value.
fn read_signing_keys(cloud: &AwsTarget) -> Result<SigningKeys> {
    let answer = cloud.call(
        "secretsmanager",
        "GetSecretValue",
        &json!({ "SecretId": SIGNING_KEYS_SECRET }),
    );
    let answer = match answer {
        // AWS's words for it.
        Err(error) if error.to_string().contains("AWSCURRENT") => return Ok(SigningKeys::default()),
        answer => answer.with_context(|| format!("cannot read {SIGNING_KEYS_SECRET}"))?,
    };
    match answer.get("SecretString").and_then(Value::as_str) {
        None | Some("") => Ok(SigningKeys::default()),
        // What is wrong with it might be quoted.
        Some(text) => serde_json::from_str(text).map_err(|_| {
            anyhow::anyhow!("{SIGNING_KEYS_SECRET} does not hold keys with signs_from and made_at")
        }),
    }
}
