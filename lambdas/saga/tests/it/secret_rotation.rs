//! Secrets that are replaced while the functions run.

use std::sync::{Arc, Mutex};

use aws_sdk_secretsmanager::Client as SecretsManager;
use axum::{
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
};
use domain::Clock;
use lambda_shared::testing::{FunctionProcess, start_proxy};
use serde_json::{Value, json};
use tokens::TokenVerifier;

use crate::{
    deployed_functions::{EXECUTABLE, create_secret, state_json},
    stock_steps::signing_key,
    support::{RETURN_URL, TestContext},
};

async fn replace_secret(context: &TestContext, name: &str, value: &str) {
    let secrets = SecretsManager::new(&context.aws);
    let replaced = secrets.put_secret_value().secret_id(name).secret_string(value);
    replaced.send().await.unwrap();
}

fn bearer_token(request: &Parts) -> &str {
    let authorization = request.headers[AUTHORIZATION].to_str().unwrap();
    authorization.strip_prefix("Bearer ").unwrap()
}

/// The payment simulator, which refuses every API key but one.
struct GuardedProvider {
    url: String,
    state: Arc<Mutex<GuardState>>,
}

struct GuardState {
    accepted_key: &'static str,
    refused: u32,
}

impl GuardedProvider {
    async fn start(simulator_url: &str) -> Self {
        let state = Arc::new(Mutex::new(GuardState {
            accepted_key: "sk_test_first",
            refused: 0,
        }));
        let guard = Arc::clone(&state);
        let answer = move |request: &Parts, _: &[u8]| {
            let mut state = guard.lock().unwrap();
            if bearer_token(request) == state.accepted_key {
                return None;
            }
            state.refused += 1;
            let error = json!({"error": {"type": "invalid_request_error", "message": "Expired API Key"}});
            Some((StatusCode::UNAUTHORIZED, axum::Json(error)).into_response())
        };
        Self {
            url: start_proxy(simulator_url, answer).await,
            state,
        }
    }

    fn accept_only(&self, key: &'static str) {
        self.state.lock().unwrap().accepted_key = key;
    }

    fn refused(&self) -> u32 {
        self.state.lock().unwrap().refused
    }
}

#[tokio::test]
async fn changed_payment_key_is_read_after_the_old_one_was_refused() {
    let context = TestContext::new().await;
    let provider = GuardedProvider::start(&context.stripe_url).await;
    let secret = create_secret(&context, "rotated-payment-key", "sk_test_first").await;
    let variables = [
        ("ORDERS_TABLE", context.tables.orders.as_str()),
        ("OUTBOX_TABLE", &context.tables.outbox),
        ("EVENT_BUS", &context.event_bus),
        ("PAYMENT_API_URL", &provider.url),
        ("PAYMENT_API_KEY_SECRET", &secret),
        ("PAYMENT_RETURN_URL", RETURN_URL),
        ("PAYMENT_ACTION_TIMEOUT_SECONDS", "600"),
        ("STATUS_PUSH_QUEUE_URL", &context.status_push_queue),
    ];
    let payment = FunctionProcess::start(EXECUTABLE, "process-payment", &variables)
        .await
        .unwrap();
    let pay = async || {
        let order = context.place_order("pm_card_visa").await;
        payment.invoke(state_json(&order)).await
    };
    pay().await.unwrap();

    provider.accept_only("sk_test_second");
    replace_secret(&context, &secret, "sk_test_second").await;
    pay().await.unwrap();
    assert_eq!(
        provider.refused(),
        1,
        "the refused request was repeated with the new key"
    );

    provider.accept_only("sk_test_third");
    pay().await.unwrap_err();
    assert_eq!(
        provider.refused(),
        2,
        "with the same key, a repetition is useless"
    );
}

/// stock-service as it verifies tokens, with keys that the test replaces.
struct StockServiceStub {
    url: String,
    verifier: Arc<Mutex<TokenVerifier>>,
}

impl StockServiceStub {
    async fn start(keys: &[&Value]) -> Self {
        let verifier = Arc::new(Mutex::new(verifier(keys)));
        let current = Arc::clone(&verifier);
        let answer = move |request: &Parts, _: &[u8]| -> Option<Response> {
            let verified = current.lock().unwrap().verify(bearer_token(request));
            Some(match verified {
                Ok(_) => axum::Json(json!({"status": "reserved"})).into_response(),
                Err(_) => StatusCode::UNAUTHORIZED.into_response(),
            })
        };
        Self {
            // Every request is answered, so none is forwarded to the discard port.
            url: start_proxy("http://127.0.0.1:9", answer).await,
            verifier,
        }
    }

    fn accept_only(&self, keys: &[&Value]) {
        *self.verifier.lock().unwrap() = verifier(keys);
    }
}

fn verifier(keys: &[&Value]) -> TokenVerifier {
    let jwks = json!({"keys": keys}).to_string();
    TokenVerifier::from_jwks(
        &jwks,
        "https://services.matsuri.local",
        "matsuri",
        Clock::system(),
    )
    .unwrap()
}

/// During a rotation stock-service accepts both keys. When it drops the old one, each process reads the new
/// one at its next request.
#[tokio::test]
async fn changed_service_key_is_read_after_the_old_one_was_refused() {
    let context = TestContext::new().await;
    let ((first_key, first_jwk), (second_key, second_jwk)) = (signing_key("first"), signing_key("second"));
    let stock_service = StockServiceStub::start(&[&first_jwk, &second_jwk]).await;
    let secret = create_secret(&context, "rotated-service-key", &first_key).await;
    let start = async || {
        let variables = [
            ("STOCK_SERVICE_URL", stock_service.url.as_str()),
            ("SERVICE_SIGNING_KEY_SECRET", &secret),
        ];
        FunctionProcess::start(EXECUTABLE, "reserve-stock", &variables)
            .await
            .unwrap()
    };
    let state = state_json(&context.place_order("pm_card_visa").await);
    let old_process = start().await;
    old_process.invoke(state.clone()).await.unwrap();

    replace_secret(&context, &secret, &second_key).await;
    let new_process = start().await;
    for process in [&old_process, &new_process] {
        process.invoke(state.clone()).await.unwrap();
    }

    stock_service.accept_only(&[&second_jwk]);
    for process in [&old_process, &new_process] {
        process.invoke(state.clone()).await.unwrap();
    }
}
