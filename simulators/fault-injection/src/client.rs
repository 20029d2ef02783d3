//! The control API, as tests see it.

use reqwest::{Client, Method, RequestBuilder};

use crate::{OperationCounts, Rule, RuleId, control_api::RuleStatus};

/// A client of the program `faults`. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct FaultClient {
    http: Client,
    base: String,
}

impl FaultClient {
    /// The client for what stands in `FAULTS_URL`.
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            http: Client::new(),
            base: base.into(),
        }
    }

    /// Puts a rule into force. Of several that fit, the oldest hits. Fails when the program cannot be reached, as
    /// does everything below.
    pub async fn add_rule(&self, rule: &Rule) -> reqwest::Result<RuleId> {
        let request = self.request(Method::POST, "/rules").json(rule);
        request.send().await?.error_for_status()?.json().await
    }

    /// How often a rule has hit. Fails as well when it was lifted.
    pub async fn hits(&self, RuleId(id): RuleId) -> reqwest::Result<u64> {
        let request = self.request(Method::GET, &format!("/rules/{id}"));
        let standing: RuleStatus = request.send().await?.error_for_status()?.json().await?;
        Ok(standing.hits)
    }

    /// Takes a rule out of force. Fails as well when that was done before.
    pub async fn remove_rule(&self, RuleId(id): RuleId) -> reqwest::Result<()> {
        let request = self.request(Method::DELETE, &format!("/rules/{id}"));
        request.send().await?.error_for_status().map(drop)
    }

    /// Takes all rules out of force.
    pub async fn clear_rules(&self) -> reqwest::Result<()> {
        let request = self.request(Method::DELETE, "/rules");
        request.send().await?.error_for_status().map(drop)
    }

    /// How often each operation was asked for since the system started.
    pub async fn counts(&self) -> reqwest::Result<OperationCounts> {
        let request = self.request(Method::GET, "/counts");
        request.send().await?.error_for_status()?.json().await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }
}
