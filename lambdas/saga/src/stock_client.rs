//! stock-service, as the saga sees it.

use std::time::Duration;

use domain::{ProductId, Timestamp};
use events::TraceParent;
use lambda_shared::{FunctionContext, InitError};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokens::{ServiceSigningKey, ServiceTokenIssuer};

use crate::{LineItem, SagaState, StepError, bootstrap::read_secret, http_client};

/// Who issues the tokens of our own programs, and for whom.
const ISSUER: &str = "https://services.matsuri.local";
const AUDIENCE: &str = "matsuri";

/// The name on this program's tokens.
const SERVICE_NAME: &str = "saga";

/// Within the functions' 20 s there is time for one request and what stands around it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long goods are held for a saga that does not come to its end, in seconds. Longer than all retries of
/// the steps up to the commit together.
const RESERVATION_TTL_SECONDS: u32 = 900;

/// The client of stock-service. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct StockClient {
    http: Client,
    base_url: Url,
    signer: ServiceTokenIssuer,
}

/// What stock-service answers about a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Where it stands: `reserved`, `committed`, `released`, `expired`.
    pub status: String,
    /// When it falls back by itself; none when it does not.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct ReserveRequest<'a> {
    reservation_id: domain::OrderId,
    items: &'a [LineItem],
    expires_in_seconds: u32,
}

/// A problem document, as far as it matters here.
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
    /// The client for `STOCK_SERVICE_URL`, with the key in the secret that `SERVICE_SIGNING_KEY_SECRET` names.
    pub(crate) async fn from_context(init: &FunctionContext) -> Result<Self, InitError> {
        let base = init.environment.required("STOCK_SERVICE_URL")?;
        let secret = init.environment.optional("SERVICE_SIGNING_KEY_SECRET")?;
        let secret = secret.unwrap_or_else(|| "ecommerce/service-signing-key".to_owned());
        let key: ServiceSigningKey = serde_json::from_str(read_secret(init, secret).await?.expose_secret())
            // The parser's own words could quote the key.
            .map_err(|_| "the service signing key is not {\"kid\":…,\"private_key_pem\":…}")?;
        let signer = ServiceTokenIssuer::new(&key, ISSUER, AUDIENCE, SERVICE_NAME, init.clock.clone())?;
        // Signs now what the first requests will carry, and finds out whether the key can.
        signer.token()?;
        Ok(Self::new(base, signer)?)
    }

    /// The client for the service at `base`, with tokens by `signer`.
    pub fn new(base: Url, signer: ServiceTokenIssuer) -> Result<Self, reqwest::Error> {
        let http = http_client::client_builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            base_url: base,
            signer,
        })
    }

    /// Holds the order's goods, all or none.
    pub async fn reserve(&self, state: &SagaState) -> Result<Reservation, StepError> {
        let body = ReserveRequest {
            reservation_id: state.order_id,
            items: &state.items,
            expires_in_seconds: RESERVATION_TTL_SECONDS,
        };
        let request = self.http.post(self.url(&["reservations"])).json(&body);
        self.send(request, state.traceparent).await
    }

    /// Sells the goods that are held.
    pub async fn commit(&self, state: &SagaState) -> Result<Reservation, StepError> {
        self.post_transition(state, "commit").await
    }

    /// Gives back the goods, held or sold.
    pub async fn release(&self, state: &SagaState) -> Result<Reservation, StepError> {
        self.post_transition(state, "release").await
    }

    async fn post_transition(&self, state: &SagaState, action: &str) -> Result<Reservation, StepError> {
        let url = self.url(&["reservations", &state.order_id.to_string(), action]);
        self.send(self.http.post(url), state.traceparent).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        // A URL without a host has no segments; requests to it fail and say so.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    async fn send(&self, request: RequestBuilder, trace: TraceParent) -> Result<Reservation, StepError> {
        let token = self.signer.token().map_err(unavailable)?;
        let request = request
            .bearer_auth(token)
            .header("traceparent", trace.to_string());
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(unavailable);
        }
        // What stands between us and the service answers in other shapes; the status says enough then.
        Err(step_error_from_problem(
            status,
            response.json().await.unwrap_or_default(),
        ))
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StepError {
    StepError::unavailable("stock-service", error)
}

/// What a refusal means for the saga. Only the service's own answers end it; everything else, an unknown path
/// and a refused token too, may be a matter of deployment and is worth another try.
fn step_error_from_problem(status: StatusCode, problem: ProblemDocument) -> StepError {
    let slug = problem.problem_type.rsplit('/').next().unwrap_or_default();
    match (status, slug) {
        (StatusCode::CONFLICT, "insufficient-stock") => {
            let short = problem
                .shortages
                .iter()
                .map(Shortage::to_string)
                .collect::<Vec<_>>();
            StepError::InsufficientStock(short.join("; "))
        }
        (StatusCode::CONFLICT, "reservation-released") => StepError::ReservationReleased,
        (StatusCode::CONFLICT, "reservation-expired") => StepError::ReservationExpired,
        (StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, _) => StepError::invalid_input(format!(
            "stock-service answered {status}: {} {}",
            slug, problem.detail
        )),
        _ => StepError::unavailable("stock-service", format!("it answered {status} {slug}")),
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
            "{requested} of {product_id} are asked for and {available} available"
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
        json!({"type": format!("https://matsuri.dev/problems/{slug}"), "title": "", "status": 409, "detail": ""})
    }

    #[test]
    fn the_service_s_refusals_have_their_names() {
        assert_eq!(
            error_name(409, problem("insufficient-stock")),
            "InsufficientStock"
        );
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
    fn everything_else_is_worth_another_try() {
        for status in [401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert_eq!(error_name(status, problem("whatever")), "Unavailable", "{status}");
        }
        assert_eq!(error_name(409, problem("something-new")), "Unavailable");
        assert_eq!(error_name(502, json!("<html>")), "Unavailable");
    }

    #[test]
    fn a_shortage_says_what_is_short() {
        let mut body = problem("insufficient-stock");
        let product_id = "019a0000-0000-7000-8000-000000000003";
        body["shortages"] = json!([{"product_id": product_id, "requested": 3, "available": 1}]);
        let error = step_error_from_problem(StatusCode::CONFLICT, serde_json::from_value(body).unwrap());
        assert_eq!(
            error.to_string(),
            format!("there is not enough stock: 3 of {product_id} are asked for and 1 available")
        );
    }
}
