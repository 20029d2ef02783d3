//! The HTTP client of stock-service.

use std::time::Duration;

use domain::{Clock, ProductId, Timestamp};
use events::TraceParent;
use lambda_shared::{FunctionContext, InitError};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use secrets::{InvalidSecret, Secret};
use serde::{Deserialize, Serialize};
use tokens::{ServiceSigningKey, ServiceTokenIssuer};

use crate::{LineItem, SagaState, StepError, bootstrap, http_client};

/// The issuer and audience of service tokens.
const ISSUER: &str = "https://services.matsuri.local";
const AUDIENCE: &str = "matsuri";

/// The subject of this service's tokens.
const SERVICE_NAME: &str = "saga";

/// The functions time out after 20 s, which leaves time for one request and the work around it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long stock stays reserved for a saga that does not end. Exceeds the time of all retries of the steps
/// up to the commit.
const RESERVATION_TTL_SECONDS: u32 = 900;

/// The client of stock-service. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct StockClient {
    http: Client,
    base_url: Url,
    token_issuer: Secret<ServiceTokenIssuer>,
}

/// A reservation, as stock-service returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// `reserved`, `committed`, `released` or `expired`.
    pub status: String,
    /// When the reservation expires. `None` when it does not expire.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct ReserveRequest<'a> {
    reservation_id: domain::OrderId,
    items: &'a [LineItem],
    expires_in_seconds: u32,
}

/// The fields of a problem document (RFC 9457) that the saga uses.
#[derive(Default, Deserialize)]
struct ProblemDocument {
    #[serde(default, rename = "type")]
    problem_type: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    shortages: Vec<Shortage>,
}

#[derive(Deserialize)]
struct Shortage {
    product_id: ProductId,
    requested: i64,
    available: i64,
}

impl StockClient {
    /// The client for `STOCK_SERVICE_URL`, with the signing key from the secret `SERVICE_SIGNING_KEY_SECRET`.
    pub(crate) async fn from_context(context: &FunctionContext) -> Result<Self, InitError> {
        let base_url = context.environment.required("STOCK_SERVICE_URL")?;
        let secret_name = context.environment.optional("SERVICE_SIGNING_KEY_SECRET")?;
        let secret_name = secret_name.unwrap_or_else(|| "ecommerce/service-signing-key".to_owned());
        let clock = context.clock.clone();
        let parse = move |key: &SecretString| token_issuer(key, clock.clone());
        let token_issuer = bootstrap::secret(context, secret_name, parse).await?;
        Ok(Self::new(base_url, token_issuer)?)
    }

    /// A client for the service at `base_url`, authenticated with tokens from `token_issuer`, whose key may
    /// be rotated.
    pub fn new(base_url: Url, token_issuer: Secret<ServiceTokenIssuer>) -> Result<Self, reqwest::Error> {
        let http = http_client::client_builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            base_url,
            token_issuer,
        })
    }

    /// Reserves the stock of all order lines, or of none.
    pub async fn reserve(&self, state: &SagaState) -> Result<Reservation, StepError> {
        let body = ReserveRequest {
            reservation_id: state.order_id,
            items: &state.items,
            expires_in_seconds: RESERVATION_TTL_SECONDS,
        };
        let request = self.http.post(self.url(&["reservations"])).json(&body);
        self.send(request, state.traceparent).await
    }

    /// Commits the order's reservation.
    pub async fn commit(&self, state: &SagaState) -> Result<Reservation, StepError> {
        self.post_transition(state, "commit").await
    }

    /// Releases the order's reservation, reserved or committed.
    pub async fn release(&self, state: &SagaState) -> Result<Reservation, StepError> {
        self.post_transition(state, "release").await
    }

    async fn post_transition(&self, state: &SagaState, action: &str) -> Result<Reservation, StepError> {
        let url = self.url(&["reservations", &state.order_id.to_string(), action]);
        self.send(self.http.post(url), state.traceparent).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        // A URL that cannot be a base has no path segments. It stays unchanged, and the request to it fails.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    async fn send(
        &self,
        request: RequestBuilder,
        traceparent: TraceParent,
    ) -> Result<Reservation, StepError> {
        let request = request.header("traceparent", traceparent.to_string());
        let token_issuer = self.token_issuer.current().await;
        let repetition = request.try_clone();
        let mut response = send_with_token(request, &token_issuer).await?;
        // A refused request has no effect. It is repeated if the signing key has changed.
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(repetition) = repetition
            && let Some(token_issuer) = self.token_issuer.read_again(&token_issuer).await
        {
            response = send_with_token(repetition, &token_issuer).await?;
        }
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(unavailable);
        }
        // A proxy's error response is not a problem document. The status is then sufficient.
        Err(step_error_from_problem(
            status,
            response.json().await.unwrap_or_default(),
        ))
    }
}

async fn send_with_token(
    request: RequestBuilder,
    token_issuer: &ServiceTokenIssuer,
) -> Result<Response, StepError> {
    let token = token_issuer.token().map_err(unavailable)?;
    request.bearer_auth(token).send().await.map_err(unavailable)
}

/// The issuer of tokens that a signing key in the format of its secret signs.
fn token_issuer(key: &SecretString, clock: Clock) -> Result<ServiceTokenIssuer, InvalidSecret> {
    let key: ServiceSigningKey = serde_json::from_str(key.expose_secret())
        // The parser's message could contain the key.
        .map_err(|_| "the service signing key is not JSON like {\"kid\":…,\"private_key_pem\":…}")?;
    let token_issuer = ServiceTokenIssuer::new(&key, ISSUER, AUDIENCE, SERVICE_NAME, clock)?;
    // Signs the token of the first requests during initialisation, and checks the key.
    token_issuer.token()?;
    Ok(token_issuer)
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StepError {
    StepError::unavailable("stock-service", error)
}

/// Maps an error response to a step error. Only stock-service's own problem types are permanent. Every other
/// response, also for an unknown path or a rejected token, may come from a deployment and is retried.
fn step_error_from_problem(status: StatusCode, problem: ProblemDocument) -> StepError {
    let slug = problem.problem_type.rsplit('/').next().unwrap_or_default();
    let shortages = || {
        let shortages: Vec<String> = problem.shortages.iter().map(Shortage::to_string).collect();
        shortages.join("; ")
    };
    match (status, slug) {
        (StatusCode::CONFLICT, "insufficient-stock") => StepError::InsufficientStock(shortages()),
        (StatusCode::CONFLICT, "stock-held") => StepError::StockHeld(shortages()),
        (StatusCode::CONFLICT, "reservation-released") => StepError::ReservationReleased,
        (StatusCode::CONFLICT, "reservation-expired") => StepError::ReservationExpired,
        (StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, _) => StepError::invalid_input(format!(
            "stock-service returned {status}: {} {}",
            slug, problem.detail
        )),
        _ => StepError::unavailable("stock-service", format!("status {status} {slug}")),
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            product_id,
            requested,
            available,
        } = self;
        write!(
            f,
            "product {product_id}: {requested} requested, {available} available"
        )
    }
}

#[cfg(test)]
mod tests {
    use lambda_shared::FunctionError;
    use serde_json::json;

    use super::*;

    fn error_name(status: u16, body: serde_json::Value) -> &'static str {
        let status = StatusCode::from_u16(status).unwrap();
        step_error_from_problem(status, serde_json::from_value(body).unwrap_or_default()).name()
    }

    fn problem(slug: &str) -> serde_json::Value {
        let problem_type = format!("https://matsuri.dev/problems/{slug}");
        json!({"type": problem_type, "title": "", "status": 409, "detail": ""})
    }

    #[test]
    fn problem_types_map_to_step_error_names() {
        assert_eq!(
            error_name(409, problem("insufficient-stock")),
            "InsufficientStock"
        );
        assert_eq!(error_name(409, problem("stock-held")), "StockHeld");
        assert_eq!(
            error_name(409, problem("reservation-released")),
            "ReservationReleased"
        );
        assert_eq!(
            error_name(409, problem("reservation-expired")),
            "ReservationExpired"
        );
        assert_eq!(error_name(422, problem("reservation-mismatch")), "InvalidInput");
        assert_eq!(error_name(400, json!("not a problem document")), "InvalidInput");
    }

    #[test]
    fn other_responses_are_retryable() {
        for status in [401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert_eq!(error_name(status, problem("any")), "Unavailable", "{status}");
        }
        assert_eq!(error_name(409, problem("something-new")), "Unavailable");
        assert_eq!(error_name(502, json!("<html>")), "Unavailable");
    }

    #[test]
    fn insufficient_stock_error_lists_the_shortages() {
        let mut body = problem("insufficient-stock");
        let product_id = "019a0000-0000-7000-8000-000000000003";
        body["shortages"] = json!([{"product_id": product_id, "requested": 3, "available": 1}]);
        let error = step_error_from_problem(StatusCode::CONFLICT, serde_json::from_value(body).unwrap());
        assert_eq!(
            error.to_string(),
            format!("insufficient stock: product {product_id}: 3 requested, 1 available")
        );
    }
}
