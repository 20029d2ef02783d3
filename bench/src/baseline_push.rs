//! The baseline of real-time updates: a topic, and a function that sends each message to a connection.

use anyhow::Context as _;
use domain::Timestamp;
use serde_json::{Value, json};

use crate::{baseline_stack::BaselineStack, context::Context};

const TOPIC_ARN: &str = "arn:aws:sns:ap-northeast-1:000000000000:baseline-push";

/// The deployed topic.
#[derive(Debug)]
pub struct BaselinePush {
    http: reqwest::Client,
}

impl BaselinePush {
    /// Deploys the topic and the function beside the system.
    ///
    /// # Errors
    /// Fails when the deployment fails.
    pub async fn deploy(context: &Context) -> anyhow::Result<Self> {
        let websocket_api = &context.addresses.websocket_api_url;
        let stack = BaselineStack {
            name: "baseline-push",
            template: include_str!("../baseline-push/template.yaml"),
            files: &[],
            executables: &["baseline_push"],
            parameters: &[("ConnectionsApiUrl", &websocket_api.replacen("ws", "http", 1))],
        };
        stack.deploy(context).await?;
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
        })
    }

    /// Publishes a message for a connection. Returns the time before the publication.
    ///
    /// # Errors
    /// Fails when the topic rejects the message.
    pub async fn publish(
        &self,
        context: &Context,
        connection_id: &str,
        data: &Value,
    ) -> anyhow::Result<Timestamp> {
        // MiniStack does not verify signatures. It only reads the service's name from the scope.
        let signature = "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/sns/aws4_request, \
                         SignedHeaders=host, Signature=0";
        let message = json!({"connection_id": connection_id, "data": data}).to_string();
        let parameters = [
            ("Action", "Publish"),
            ("Version", "2010-03-31"),
            ("TopicArn", TOPIC_ARN),
            ("Message", &message),
        ];
        let request = self
            .http
            .post(&context.addresses.aws)
            .header("authorization", signature)
            .form(&parameters);
        let published_at = context.clock.now();
        request
            .send()
            .await?
            .error_for_status()
            .context("the topic rejected a message")?;
        Ok(published_at)
    }
}
