//! SES and SQS as notification-sender sees them, with faults of SES that the local AWS does not have.

use std::sync::{Arc, Mutex};

use axum::{
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use lambda_shared::testing::start_proxy;
use serde_json::{Value, json};

/// How SES behaves.
#[derive(Clone, Copy, Default)]
pub enum SesBehaviour {
    /// As the local AWS.
    #[default]
    Normal,
    /// Every request fails.
    Away,
    /// In its sandbox, SES sends no mail to an address that is not verified, and names it.
    RejectsRecipient,
}

/// A proxy in front of the local AWS.
pub struct MailServices {
    pub url: String,
    state: Arc<Mutex<ProxyState>>,
}

#[derive(Default)]
struct ProxyState {
    ses: SesBehaviour,
    /// Whether the table of suppressed addresses fails.
    suppressions_away: bool,
    redelivery_delays: Vec<u64>,
    /// The requests to SES.
    mails: Vec<Value>,
}

impl MailServices {
    pub async fn start(aws_endpoint_url: &str) -> Self {
        let state = Arc::new(Mutex::new(ProxyState::default()));
        let answer = {
            let state = Arc::clone(&state);
            move |request: &Parts, body: &[u8]| state.lock().unwrap().answer(request, body)
        };
        Self {
            url: start_proxy(aws_endpoint_url, answer).await,
            state,
        }
    }

    pub fn set_ses(&self, behaviour: SesBehaviour) {
        self.state.lock().unwrap().ses = behaviour;
    }

    pub fn set_suppressions_away(&self, away: bool) {
        self.state.lock().unwrap().suppressions_away = away;
    }

    /// Takes the requests to SES since the last call. The local AWS keeps neither headers nor the name of the
    /// configuration set.
    pub fn take_mails(&self) -> Vec<Value> {
        std::mem::take(&mut self.state.lock().unwrap().mails)
    }

    /// Takes the delays, in seconds, that the function has set since the last call.
    pub fn take_redelivery_delays(&self) -> Vec<u64> {
        std::mem::take(&mut self.state.lock().unwrap().redelivery_delays)
    }
}

impl ProxyState {
    fn answer(&mut self, request: &Parts, body: &[u8]) -> Option<Response> {
        let target = request.headers.get("x-amz-target");
        if target.is_some_and(|target| target == "AmazonSQS.ChangeMessageVisibility") {
            let body: Value = serde_json::from_slice(body).unwrap();
            let delay = body["VisibilityTimeout"].as_u64().unwrap();
            self.redelivery_delays.push(delay);
            return Some(axum::Json(json!({})).into_response());
        }
        let is_suppression = |body: &[u8]| String::from_utf8_lossy(body).contains("address_digest");
        if self.suppressions_away && is_suppression(body) {
            return Some(StatusCode::SERVICE_UNAVAILABLE.into_response());
        }
        if request.uri.path() != "/v2/email/outbound-emails" {
            return None;
        }
        self.mails.push(serde_json::from_slice(body).unwrap());
        match self.ses {
            SesBehaviour::Normal => None,
            SesBehaviour::Away => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
            SesBehaviour::RejectsRecipient => {
                let mail: Value = serde_json::from_slice(body).unwrap();
                let recipient = mail["Destination"]["ToAddresses"][0].as_str().unwrap();
                let message = format!("Email address is not verified: {recipient}");
                let headers = [("x-amzn-errortype", "MessageRejected")];
                let body = axum::Json(json!({ "message": message }));
                Some((StatusCode::BAD_REQUEST, headers, body).into_response())
            }
        }
    }
}
