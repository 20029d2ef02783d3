//! Plain HTTP to programs on this machine.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;

static AGENT: LazyLock<Agent> = LazyLock::new(|| agent(Duration::from_secs(60)));
static PROBE: LazyLock<Agent> = LazyLock::new(|| agent(Duration::from_secs(3)));

fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        // A proxy of the surrounding network must not be asked for programs on this machine.
        .proxy(None)
        .build()
        .into()
}

/// The agent for all requests; they may take a minute.
pub fn client() -> &'static Agent {
    &AGENT
}

/// Whether the address answers with 2xx within three seconds.
pub fn is_ok(url: &str) -> bool {
    PROBE
        .get(url)
        .call()
        .is_ok_and(|response| response.status().is_success())
}

/// Fetches JSON.
///
/// # Errors
/// When nobody answers, or not with 2xx and JSON.
pub fn get_json(url: &str, token: Option<&str>) -> Result<Value> {
    let mut request = AGENT.get(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = request.call().with_context(|| format!("no answer from {url}"))?;
    if !response.status().is_success() {
        let body = response.body_mut().read_to_string().unwrap_or_default();
        bail!("{url} answered {}: {body}", response.status());
    }
    response
        .body_mut()
        .read_json()
        .with_context(|| format!("{url} did not answer with JSON"))
}
