//! [`PaymentProvider`] over Stripe's HTTP API, version [`API_VERSION`]; also over what speaks the same wire
//! protocol: `simulators/payment-provider` on laptops, `localstripe` in tests.
//!
//! The payment method goes with the creation of a PaymentIntent and not with its confirmation. Stripe takes
//! it at either; at the creation it is checked before the order is claimed for payment.

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

/// The version of Stripe's API that this is written for, sent with every request: what an account's default
/// version is does not matter then.
pub const API_VERSION: &str = "2026-02-25.clover";

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a request may take from start to end. Taking a payment is three requests at most, and has to be done
/// within its function's time.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Stripe, as one account's key sees it.
pub struct Stripe {
    http: Client,
    base_url: Url,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StripeConfigError {
    /// The address is not one to send requests to.
    #[error("the payment API's address is not an http or https URL")]
    InvalidUrl,
    /// The key has characters that no key has, such as a line's end.
    #[error("the payment API's key cannot be sent in a header")]
    InvalidKey,
    /// The HTTP client could not be built.
    #[error("the payment API's HTTP client could not be built")]
    HttpClient(#[from] reqwest::Error),
}

impl Stripe {
    /// A client for the API at `base` (for Stripe itself `https://api.stripe.com`) with the account's secret
    /// key.
    pub fn new(base: &str, key: &SecretString) -> Result<Self, StripeConfigError> {
        let base = Url::parse(base).map_err(|_| StripeConfigError::InvalidUrl)?;
        if !matches!(base.scheme(), "http" | "https") {
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
            // The API never redirects; whoever does is not to be followed with a charge in hand.
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self { http, base_url: base })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        url.path_segments_mut()
            .expect("an http URL, which `new` made sure of, has a path")
            .pop_if_empty()
            .push("v1")
            .extend(path);
        url
    }

    /// A POST whose repetition the provider recognises: `effect` is what it does for the order.
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
            // Nobody is there to be sent to another page, which most other types would ask for.
            ("payment_method_types[]", "card"),
            ("metadata[order_id]", &order.to_string()),
        ]);
        let intent: PaymentIntent = send(request).await?;
        Ok(PaymentId(intent.id))
    }

    async fn confirm(&self, order: OrderId, payment: &PaymentId) -> Result<(), PaymentError> {
        let request = self.post(&["payment_intents", &payment.0, "confirm"], order, "confirm");
        let refusal = match send::<PaymentIntent>(request).await {
            Ok(intent) => return intent.require_charged(),
            Err(refusal) => refusal,
        };
        if refusal.is_ambiguous() && matches!(self.find(payment).await, Ok(PaymentStatus::Charged)) {
            return Ok(());
        }
        Err(refusal.into())
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
            // A refund may take days to reach the card; it fails only if the card's account is gone.
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
            Err(failure) => Err(failure.into()),
        }
    }

    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        // Without a key: what is cancelled stays so, while a key would have the refusal of a moment at which
        // the payment was under way repeated for a day.
        let request = self
            .http
            .post(self.url(&["payment_intents", &payment.0, "cancel"]));
        match send::<PaymentIntent>(request).await {
            Ok(intent) => Ok(intent.payment_status()),
            Err(refusal) if refusal.is_ambiguous() => self.find(payment).await,
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// A PaymentIntent, as far as it matters here.
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

    /// What a confirmation that went through came to.
    fn require_charged(&self) -> Result<(), PaymentError> {
        match self.status.as_str() {
            "succeeded" => Ok(()),
            // The bank wants the customer to identify, and the customer is not there.
            "requires_action" => Err(PaymentError::Declined {
                code: "authentication_required".into(),
            }),
            other => Err(PaymentError::Unavailable(
                format!("the payment is {other}").into(),
            )),
        }
    }
}

/// A refund, as far as it matters here.
#[derive(Deserialize)]
struct Refund {
    status: Option<String>,
}

/// What an error's body says of the reason. The message is left alone: it may quote the request.
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

    /// The reason in one word, kept to what may go into logs and stores.
    fn into_reason_code(self) -> String {
        self.decline_code
            .or(self.code)
            .filter(|word| word.len() <= 64 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
            .unwrap_or_else(|| "unspecified".into())
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: StripeErrorDetails,
}

/// What stands in the way of an answer.
enum RequestError {
    NoResponse(Box<dyn std::error::Error + Send + Sync>),
    ErrorResponse {
        status: StatusCode,
        body: StripeErrorDetails,
    },
}

impl RequestError {
    /// Whether the payment may have come to where it was wanted in spite of this answer. Stripe answers a
    /// repetition as it answered the first time, with a 500 too, and what it has forgotten the key of with
    /// a 400, because the payment is no longer where it was.
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
    fn from(failure: RequestError) -> Self {
        let (status, body) = match failure {
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
            // 409: the same request is under way, from an attempt that we no longer wait for.
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

/// Sends the request and reads its answer.
async fn send<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, RequestError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response.json().await?);
    }
    // What stands between us and Stripe answers in other shapes; the status says enough then.
    let body = response
        .json()
        .await
        .map_or_else(|_| StripeErrorDetails::default(), |body: ErrorBody| body.error);
    Err(RequestError::ErrorResponse { status, body })
}
