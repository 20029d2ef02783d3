//! `cargo xtask keys`: for those who bring the system up in containers. `cargo xtask keys rotate`: another key for
//! people's tokens.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::aws::Cloud;
use crate::paths::{Instance, Kind};
use crate::progress::{BOLD, GREEN, step};
use crate::signing_keys::SigningKeys;
use crate::{Rotate, keys, python, system};

/// Where the functions read the keys.
const SECRET: &str = "ecommerce/user-signing-keys";

/// Makes the keys that are missing.
///
/// # Errors
/// When they cannot be made.
pub fn run() -> Result<ExitCode> {
    let instance = Instance::of(Kind::Development);
    system::prepare_keys(&instance)?;
    anstream::eprintln!("  the keys lie in {}", instance.keys().display());
    Ok(ExitCode::SUCCESS)
}

/// Lets the next key sign.
///
/// # Errors
/// When a rotation is under way, or the keys cannot be read or written.
pub fn rotate(arguments: &Rotate) -> Result<ExitCode> {
    let cloud = Cloud::chosen(arguments.aws)?;
    // It makes keys, and may have the only aws command there is.
    step("Python environment", |step| python::SYSTEM.prepare(step))?;
    let now = SystemTime::now().into();
    let mut signing_keys = read(&cloud)?;
    let said = if signing_keys.is_empty() {
        signing_keys = SigningKeys::first(now, [keys::made()?, keys::made()?]);
        "the first key signs from now on".to_owned()
    } else {
        let overlap = TimeDelta::seconds(arguments.overlap_seconds.into());
        let done = signing_keys.rotate(now, overlap, keys::made()?)?;
        let removed = match &done.removed[..] {
            [] => String::new(),
            gone => format!("; removed: {}", gone.join(", ")),
        };
        let from = done.from.format("%F %T UTC");
        format!("{BOLD}{}{BOLD:#} signs from {from} on{removed}", done.next)
    };
    if let Cloud::Local(_) = cloud {
        // A later deployment puts these.
        keys::write_user_signing_keys(&Instance::addressed(), &signing_keys)?;
    }
    let text = serde_json::to_string(&signing_keys)?;
    let input = json!({ "SecretId": SECRET, "SecretString": text });
    cloud
        .call("secretsmanager", "PutSecretValue", &input)
        .with_context(|| format!("{SECRET} is as it was"))?;
    anstream::eprintln!("  {GREEN}✓{GREEN:#} {said}");
    Ok(ExitCode::SUCCESS)
}

/// The keys as they are; none where the secret never had a value.
fn read(cloud: &Cloud) -> Result<SigningKeys> {
    let answer = cloud.call("secretsmanager", "GetSecretValue", &json!({ "SecretId": SECRET }));
    let answer = match answer {
        // AWS's words for it.
        Err(error) if error.to_string().contains("AWSCURRENT") => return Ok(SigningKeys::default()),
        answer => answer.with_context(|| format!("cannot read {SECRET}"))?,
    };
    match answer.get("SecretString").and_then(Value::as_str) {
        None | Some("") => Ok(SigningKeys::default()),
        // What is wrong with it might be quoted.
        Some(text) => serde_json::from_str(text)
            .map_err(|_| anyhow::anyhow!("{SECRET} does not hold keys with signs_from and made_at")),
    }
}
