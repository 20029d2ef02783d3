//! Reports of SES about mails. The local AWS sends none, so tests publish them in the documented shape.

use serde_json::{Value, json};

use super::{ApiCaller, ApiResponse, TestSystem, aws::run_shell, send};
use reqwest::Method;

/// A bounce event of SES.
#[must_use]
pub fn bounce_event(bounce_type: &str, address: &str) -> Value {
    json!({
        "eventType": "Bounce",
        "bounce": {
            "bounceType": bounce_type,
            "bounceSubType": "General",
            "bouncedRecipients": [{
                "emailAddress": address, "action": "failed", "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            }],
            "timestamp": "2026-11-29T00:41:02.669Z",
            "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
            "reportingMTA": "dsn; mta.example.com",
        },
        "mail": {
            "timestamp": "2026-11-29T00:40:02.012Z",
            "source": "orders@matsuri.example",
            "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
            "destination": [address],
        },
    })
}

/// A complaint event of SES.
#[must_use]
pub fn complaint_event(address: &str) -> Value {
    json!({
        "eventType": "Complaint",
        "complaint": {
            "complainedRecipients": [{"emailAddress": address}],
            "timestamp": "2026-11-29T00:41:02.669Z",
            "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
            "complaintFeedbackType": "abuse",
        },
        "mail": {"source": "orders@matsuri.example", "destination": [address]},
    })
}

impl TestSystem {
    /// Publishes an event to the topic to which SES reports.
    pub async fn publish_mail_event(&self, event: &Value) {
        let command = format!(
            "awslocal sns publish --topic-arn arn:aws:sns:ap-northeast-1:000000000000:mail-feedback \
             --message '{event}'"
        );
        run_shell(&std::env::temp_dir(), &command).await;
    }

    /// Reads whether mails to the address of an account are suppressed.
    pub async fn mail_suppression(&self, admin: &ApiCaller, user_id: &str) -> Value {
        self.call_mail_suppression(Method::GET, admin, user_id)
            .await
            .expect_status(200)
    }

    /// Permits mails to the address of an account again.
    pub async fn remove_mail_suppression(&self, admin: &ApiCaller, user_id: &str) {
        self.call_mail_suppression(Method::DELETE, admin, user_id)
            .await
            .expect_status(204);
    }

    async fn call_mail_suppression(&self, method: Method, admin: &ApiCaller, user_id: &str) -> ApiResponse {
        let request = self.core_api_request(method, &format!("/v1/users/{user_id}/mail-suppression"));
        send(request.bearer_auth(&admin.token)).await
    }
}
