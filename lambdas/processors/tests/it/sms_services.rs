//! SNS and SQS as sms-sender sees them, with faults of SNS that the local AWS does not have.

use std::sync::{Arc, Mutex};

use axum::{
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use lambda_shared::testing::start_proxy;
use serde_json::{Value, json};

/// How SNS behaves.
#[derive(Clone, Copy, Default)]
pub enum SnsBehaviour {
    /// As the local AWS.
    #[default]
    Normal,
    /// Every request fails.
    Away,
    /// Answers with this error code and message.
    Rejects(&'static str, &'static str),
}

/// A proxy in front of the local AWS.
pub struct SmsServices {
    pub url: String,
    state: Arc<Mutex<ProxyState>>,
}

#[derive(Default)]
struct ProxyState {
    sns: SnsBehaviour,
    redelivery_delays: Vec<u64>,
    /// The number of requests to SNS.
    requests: usize,
}

impl SmsServices {
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

    pub fn set_sns(&self, behaviour: SnsBehaviour) {
        self.state.lock().unwrap().sns = behaviour;
    }

    /// Takes the number of requests to SNS since the last call.
    pub fn take_request_count(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().requests)
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
            self.redelivery_delays
                .push(body["VisibilityTimeout"].as_u64().unwrap());
            return Some(axum::Json(json!({})).into_response());
        }
        if !String::from_utf8_lossy(body).contains("Action=Publish") {
            return None;
        }
        self.requests += 1;
        match self.sns {
            SnsBehaviour::Normal => None,
            SnsBehaviour::Away => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
            SnsBehaviour::Rejects(code, message) => {
                let body = format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>\
                     </Error><RequestId>1</RequestId></ErrorResponse>"
                );
                let headers = [(header::CONTENT_TYPE, "text/xml")];
                Some((StatusCode::BAD_REQUEST, headers, body).into_response())
            }
        }
    }
}
