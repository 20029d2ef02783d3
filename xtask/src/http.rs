//! Plain HTTP to services on this machine.

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
        // Requests to this machine must not go through a proxy that the environment configures.
        .proxy(None)
        .build()
        .into()
}

/// The shared agent, with a timeout of one minute per request.
pub fn client() -> &'static Agent {
    &AGENT
}

/// Whether the URL responds with 2xx within three seconds.
pub fn is_ok(url: &str) -> bool {
    PROBE
        .get(url)
        .call()
        .is_ok_and(|response| response.status().is_success())
}

/// # Errors
/// When there is no response, the status is not 2xx, or the body is not JSON.
pub fn get_json(url: &str, token: Option<&str>) -> Result<Value> {
    let mut request = AGENT.get(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = request
        .call()
        .with_context(|| format!("no response from {url}"))?;
    if !response.status().is_success() {
        // The status alone is worth reporting when the body cannot be read.
        let body = response.body_mut().read_to_string().unwrap_or_default();
        bail!("{url} responded with {}: {body}", response.status());
    }
    response
        .body_mut()
        .read_json()
        .with_context(|| format!("{url} did not respond with JSON"))
}
