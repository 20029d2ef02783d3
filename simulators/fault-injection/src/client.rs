//! The client of the control API, for tests.

use std::collections::BTreeSet;

use reqwest::{Client, Method, RequestBuilder};

use crate::{AwsCall, OperationCounts, Rule, RuleId, control_api::RuleStatus};

/// A client of the server `fault-injection`. Cloning is cheap. Every method fails when the server is
/// unreachable.
#[derive(Clone, Debug)]
pub struct FaultClient {
    http: Client,
    base_url: String,
}

impl FaultClient {
    /// `base_url` is the value of `FAULTS_URL`.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            http: Client::new(),
            base_url: base_url.into(),
        }
    }

    /// Activates a rule. When several rules match, the oldest one applies.
    pub async fn add_rule(&self, rule: &Rule) -> reqwest::Result<RuleId> {
        let request = self.request(Method::POST, "/rules").json(rule);
        request.send().await?.error_for_status()?.json().await
    }

    /// Returns how often a rule has hit. Fails when the rule does not exist.
    pub async fn hits(&self, RuleId(id): RuleId) -> reqwest::Result<u64> {
        let request = self.request(Method::GET, &format!("/rules/{id}"));
        let status: RuleStatus = request.send().await?.error_for_status()?.json().await?;
        Ok(status.hits)
    }

    /// Removes a rule. Fails when the rule does not exist.
    pub async fn remove_rule(&self, RuleId(id): RuleId) -> reqwest::Result<()> {
        let request = self.request(Method::DELETE, &format!("/rules/{id}"));
        request.send().await?.error_for_status().map(drop)
    }

    /// Removes all rules.
    pub async fn clear_rules(&self) -> reqwest::Result<()> {
        let request = self.request(Method::DELETE, "/rules");
        request.send().await?.error_for_status().map(drop)
    }

    /// Returns the number of calls of each operation since the server started.
    pub async fn counts(&self) -> reqwest::Result<OperationCounts> {
        let request = self.request(Method::GET, "/counts");
        request.send().await?.error_for_status()?.json().await
    }

    /// Returns the calls to AWS since the server started, each once.
    pub async fn aws_calls(&self) -> reqwest::Result<BTreeSet<AwsCall>> {
        let request = self.request(Method::GET, "/aws-calls");
        request.send().await?.error_for_status()?.json().await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base_url))
    }
}
