//! Implements [`PaymentProvider`] with Stripe's HTTP API, version [`API_VERSION`]. Also works with the
//! compatible servers `simulators/payment-provider` (local development) and `localstripe` (tests).
//!
//! Stripe accepts the payment method when a PaymentIntent is created or when it is confirmed. This client
//! sends it at the creation, so that Stripe checks it before the order is claimed for payment.

use std::time::Duration;

use async_trait::async_trait;
use domain::{Money, OrderId, PaymentId};
use reqwest::{
    Client, RequestBuilder, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::{PaymentError, PaymentProvider, PaymentStatus};
use crate::http_client;

/// The Stripe API version, sent with every request. It overrides the account's default version.
pub const API_VERSION: &str = "2026-02-25.clover";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The timeout of a whole request. Processing a payment takes at most three requests, which must fit into the
/// function's timeout.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for one Stripe account.
pub struct Stripe {
    http: Client,
    base_url: Url,
}

/// The configuration of the Stripe client is invalid.
#[derive(Debug, thiserror::Error)]
pub enum StripeConfigError {
    #[error("the payment API URL is not an http or https URL")]
    InvalidUrl,
    /// The key contains characters that are invalid in an HTTP header, such as a line break.
    #[error("the payment API key contains characters that are invalid in an HTTP header")]
    InvalidKey,
    #[error("the HTTP client of the payment API cannot be built")]
    HttpClient(#[from] reqwest::Error),
}

impl Stripe {
    /// A client for the API at `base_url` (Stripe's is `https://api.stripe.com`) with the account's secret
    /// key.
    pub fn new(base_url: &str, key: &SecretString) -> Result<Self, StripeConfigError> {
        let base_url = Url::parse(base_url).map_err(|_| StripeConfigError::InvalidUrl)?;
        if !matches!(base_url.scheme(), "http" | "https") {
            return Err(StripeConfigError::InvalidUrl);
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| StripeConfigError::InvalidKey)?;
        authorization.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (
                HeaderName::from_static("stripe-version"),
                HeaderValue::from_static(API_VERSION),
            ),
        ]);
        let http = http_client::client_builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .default_headers(headers)
            // Stripe never redirects. A redirect must not send a payment request elsewhere.
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self { http, base_url })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        url.path_segments_mut()
            .expect("`new` accepts only http and https URLs, which have a path")
            .pop_if_empty()
            .push("v1")
            .extend(path);
        url
    }

    /// A POST with an idempotency key, which consists of the order id and `effect`.
    fn post(&self, path: &[&str], order: OrderId, effect: &str) -> RequestBuilder {
        self.http
            .post(self.url(path))
            .header("Idempotency-Key", format!("{order}-{effect}"))
    }
}

#[async_trait]
impl PaymentProvider for Stripe {
    async fn create_intent(
        &self,
        order: OrderId,
        amount: Money,
        payment_method: &str,
    ) -> Result<PaymentId, PaymentError> {
        let request = self.post(&["payment_intents"], order, "create").form(&[
            ("amount", amount.amount().to_string().as_str()),
            ("currency", &amount.currency().code().to_ascii_lowercase()),
            ("payment_method", payment_method),
            // Most other types redirect the customer, which is impossible in the background.
            ("payment_method_types[]", "card"),
            ("metadata[order_id]", &order.to_string()),
        ]);
        let intent: PaymentIntent = send(request).await?;
        Ok(PaymentId(intent.id))
    }

    async fn confirm(&self, order: OrderId, payment: &PaymentId) -> Result<(), PaymentError> {
        let request = self.post(&["payment_intents", &payment.0, "confirm"], order, "confirm");
        let error = match send::<PaymentIntent>(request).await {
            Ok(intent) => return intent.require_charged(),
            Err(error) => error,
        };
        if error.is_ambiguous() && matches!(self.find(payment).await, Ok(PaymentStatus::Charged)) {
            return Ok(());
        }
        Err(error.into())
    }

    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        let intent: PaymentIntent = send(self.http.get(self.url(&["payment_intents", &payment.0]))).await?;
        Ok(intent.payment_status())
    }

    async fn refund(&self, order: OrderId, payment: &PaymentId) -> Result<(), PaymentError> {
        let request = self
            .post(&["refunds"], order, "refund")
            .form(&[("payment_intent", &payment.0)]);
        match send::<Refund>(request).await {
            // A refund can be pending for days. It fails only when the card's account is closed.
            Ok(refund) => match refund.status.as_deref() {
                Some("failed" | "canceled" | "requires_action") => Err(PaymentError::Rejected {
                    status: 200,
                    code: "refund_failed".into(),
                }),
                _ => Ok(()),
            },
            Err(RequestError::ErrorResponse { body, .. }) if body.has_code("charge_already_refunded") => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        // Without an idempotency key: a cancellation is idempotent, and with a key Stripe would repeat an
        // error response (for a payment that was just being confirmed) for a day.
        let request = self
            .http
            .post(self.url(&["payment_intents", &payment.0, "cancel"]));
        match send::<PaymentIntent>(request).await {
            Ok(intent) => Ok(intent.payment_status()),
            Err(error) if error.is_ambiguous() => self.find(payment).await,
            Err(error) => Err(error.into()),
        }
    }
}

/// The fields of a PaymentIntent that this client uses.
#[derive(Deserialize)]
struct PaymentIntent {
    id: String,
    status: String,
}

impl PaymentIntent {
    fn payment_status(&self) -> PaymentStatus {
        match self.status.as_str() {
            "succeeded" => PaymentStatus::Charged,
            "canceled" => PaymentStatus::Cancelled,
            _ => PaymentStatus::Open,
        }
    }

    /// The result of a confirmation that Stripe accepted.
    fn require_charged(&self) -> Result<(), PaymentError> {
        match self.status.as_str() {
            "succeeded" => Ok(()),
            // The bank requires the customer to authenticate, which is impossible in the background.
            "requires_action" => Err(PaymentError::Declined {
                code: "authentication_required".into(),
            }),
            other => Err(PaymentError::Unavailable(
                format!("the payment has the status {other}").into(),
            )),
        }
    }
}

/// The fields of a refund that this client uses.
#[derive(Deserialize)]
struct Refund {
    status: Option<String>,
}

/// The fields of an error response. The message is ignored because it may contain parts of the request.
#[derive(Default, Deserialize)]
struct StripeErrorDetails {
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
}

impl StripeErrorDetails {
    fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The decline code or error code, if it is safe to log and to store. Otherwise `unspecified`.
    fn into_reason_code(self) -> String {
        self.decline_code
            .or(self.code)
            .filter(|code| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
            .unwrap_or_else(|| "unspecified".into())
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: StripeErrorDetails,
}

/// Why a request to Stripe failed.
enum RequestError {
    NoResponse(Box<dyn std::error::Error + Send + Sync>),
    ErrorResponse {
        status: StatusCode,
        body: StripeErrorDetails,
    },
}

impl RequestError {
    /// Whether an earlier request may have had the effect in spite of this response. Stripe repeats the
    /// stored response for a known idempotency key, even a 500. For a forgotten key it returns a 400, because
    /// the payment's status has changed.
    fn is_ambiguous(&self) -> bool {
        match self {
            Self::NoResponse(_) => false,
            Self::ErrorResponse { status, .. } => {
                *status == StatusCode::BAD_REQUEST || status.is_server_error()
            }
        }
    }
}

impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        Self::NoResponse(error.into())
    }
}

impl From<RequestError> for PaymentError {
    fn from(error: RequestError) -> Self {
        let (status, body) = match error {
            RequestError::NoResponse(reason) => return Self::Unavailable(reason),
            RequestError::ErrorResponse { status, body } => (status, body),
        };
        match status {
            StatusCode::PAYMENT_REQUIRED => Self::Declined {
                code: body.into_reason_code(),
            },
            StatusCode::BAD_REQUEST if body.has_code("resource_missing") => match body.param.as_deref() {
                Some("payment_method") => Self::Declined {
                    code: body.into_reason_code(),
                },
                _ => Self::NotFound,
            },
            StatusCode::NOT_FOUND => Self::NotFound,
            // 409: an earlier attempt of the same request, which has timed out here, is still running at
            // Stripe.
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
                Self::Unavailable(format!("status {}", status.as_u16()).into())
            }
            _ if status.is_client_error() => Self::Rejected {
                status: status.as_u16(),
                code: body.into_reason_code(),
            },
            _ => Self::Unavailable(format!("status {}", status.as_u16()).into()),
        }
    }
}

/// Sends a request and parses its response.
async fn send<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, RequestError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response.json().await?);
    }
    // A proxy's error response has another format. The status is then sufficient.
    let body = response
        .json()
        .await
        .map_or_else(|_| StripeErrorDetails::default(), |body: ErrorBody| body.error);
    Err(RequestError::ErrorResponse { status, body })
}
