//! Implements [`PaymentProvider`] with Stripe's HTTP API, version [`API_VERSION`]. Also works with the
//! compatible servers `simulators/payment-provider` (local development) and `localstripe` (tests).
//!
//! Stripe accepts the payment method when a PaymentIntent is created or when it is confirmed. This client
//! sends it at the creation, so that Stripe checks it before the order is claimed for payment.
//!
//! # After a server error
//!
//! Stripe stores the first response under an idempotency key, even a 500, and repeats it for at least a day.
//! So a repetition under the same key cannot succeed any more. After such a response this client looks for
//! the effect at Stripe, and when there is none, it sends the request under the order's next key:
//! `{order}-refund`, `{order}-refund-2`, and so on. Every call starts with the first key and passes the keys
//! whose responses are stored, so the client stores no progress.
//!
//! Two requests under different keys can run at the same time, for example when a proxy sends a 502 while
//! Stripe still works on the first one. Stripe's rules for its objects then prevent a second effect: a
//! PaymentIntent is charged once, and the refunds of a charge never exceed it. A second PaymentIntent of an
//! order stays unconfirmed, because only the one that claims the order is confirmed.
//!
//! # Authentication by the customer
//!
//! After `requires_action` (3D Secure) the customer continues the confirmation with Stripe, not with this
//! client. A repeated confirmation gets the stored response, which can be older than the payment's status.
//! Under a key of which Stripe has stored no response, it starts the authentication again and makes the first
//! page invalid. So callers use [`PaymentProvider::find_confirmation`] first when the payment may have been
//! confirmed.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use domain::{CustomerSecret, Money, OrderId, PaymentAction, PaymentId, UserId};
use reqwest::{
    Client, RequestBuilder, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{Confirmation, PaymentError, PaymentProvider, PaymentStatus};
use crate::http_client;

/// The Stripe API version, sent with every request. It overrides the account's default version.
pub const API_VERSION: &str = "2026-02-25.clover";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The timeout of a whole request. After a request without a response this client sends at most one more, so
/// at most three requests of a step take so long. They must fit into the function's timeout.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for one Stripe account.
pub struct Stripe {
    http: Client,
    base_url: Url,
}

/// A payment and the order for which it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentDescription {
    pub status: PaymentStatus,
    /// `None` for a payment that this client did not create.
    pub order: Option<(UserId, OrderId)>,
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

    /// A POST with the idempotency key number `attempt`, counted from 1, of this effect on the order.
    fn post(&self, path: &[&str], order: OrderId, effect: &str, attempt: u32) -> RequestBuilder {
        let key = match attempt {
            1 => format!("{order}-{effect}"),
            _ => format!("{order}-{effect}-{attempt}"),
        };
        self.http.post(self.url(path)).header("Idempotency-Key", key)
    }

    async fn retrieve(&self, payment: &PaymentId) -> Result<PaymentIntent, RequestError> {
        send(self.http.get(self.url(&["payment_intents", &payment.0])))
            .await
            .result
    }

    /// What Stripe knows about a payment at present.
    pub async fn describe(&self, payment: &PaymentId) -> Result<PaymentDescription, PaymentError> {
        let intent = self.retrieve(payment).await?;
        let id = |name| intent.metadata.get(name)?.parse::<Uuid>().ok();
        Ok(PaymentDescription {
            status: intent.payment_status(),
            order: id("user_id")
                .zip(id("order_id"))
                .map(|(user, order)| (UserId(user), OrderId(order))),
        })
    }

    /// Whether refunds of `amount` were made or are pending.
    pub async fn is_refunded(&self, payment: &PaymentId, amount: Money) -> Result<bool, PaymentError> {
        Ok(self.refunded_amount(payment).await? >= amount.amount())
    }

    /// The sum of the payment's refunds that have not failed. A payment has far fewer refunds than a page.
    async fn refunded_amount(&self, payment: &PaymentId) -> Result<i64, RequestError> {
        let request = self
            .http
            .get(self.url(&["refunds"]))
            .query(&[("payment_intent", payment.0.as_str()), ("limit", "100")]);
        let refunds: RefundList = send(request).await.result?;
        let effective = refunds.data.iter().filter(|refund| refund.is_effective());
        Ok(effective.map(|refund| refund.amount).sum())
    }
}

#[async_trait]
impl PaymentProvider for Stripe {
    async fn create_intent(
        &self,
        user: UserId,
        order: OrderId,
        amount: Money,
        payment_method: &str,
    ) -> Result<PaymentId, PaymentError> {
        let (amount, currency) = (amount.amount().to_string(), amount.currency().code());
        let currency = currency.to_ascii_lowercase();
        let (user_id, order_id) = (user.to_string(), order.to_string());
        let form = [
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("payment_method", payment_method),
            // Most other types redirect the customer, which is impossible in the background.
            ("payment_method_types[]", "card"),
            ("metadata[user_id]", &user_id),
            ("metadata[order_id]", &order_id),
        ];
        let mut attempt = 1;
        loop {
            let request = self
                .post(&["payment_intents"], order, "intent", attempt)
                .form(&form);
            let response = send::<PaymentIntent>(request).await;
            if response.is_server_error() && response.permits_next_key(attempt) {
                attempt += 1;
                continue;
            }
            return Ok(PaymentId(response.result?.id));
        }
    }

    async fn confirm(
        &self,
        order: OrderId,
        payment: &PaymentId,
        return_url: &str,
    ) -> Result<Confirmation, PaymentError> {
        let path = ["payment_intents", &payment.0, "confirm"];
        let form = [("return_url", return_url)];
        let mut attempt = 1;
        loop {
            let request = self.post(&path, order, "confirm", attempt).form(&form);
            let response = send::<PaymentIntent>(request).await;
            let permits_next_key = response.permits_next_key(attempt);
            let is_conclusive = match &response.result {
                Ok(intent) => !response.is_repeated || intent.payment_status() == PaymentStatus::Charged,
                Err(error) => !error.is_ambiguous(),
            };
            let outcome = response
                .result
                .map_err(PaymentError::from)
                .and_then(|intent| intent.into_confirmation());
            if is_conclusive {
                return outcome;
            }
            match self.retrieve(payment).await {
                Ok(intent) if intent.shows_confirmation() => return intent.into_confirmation(),
                Ok(_) if permits_next_key => attempt += 1,
                _ => return outcome,
            }
        }
    }

    async fn find_confirmation(&self, payment: &PaymentId) -> Result<Option<Confirmation>, PaymentError> {
        let intent = self.retrieve(payment).await?;
        let is_confirmed = intent.shows_confirmation();
        is_confirmed.then(|| intent.into_confirmation()).transpose()
    }

    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        Ok(self.retrieve(payment).await?.payment_status())
    }

    async fn refund(&self, order: OrderId, payment: &PaymentId, amount: Money) -> Result<(), PaymentError> {
        let mut attempt = 1;
        loop {
            if self.is_refunded(payment, amount).await? {
                return Ok(());
            }
            // Without an amount, Stripe refunds what is left of the charge.
            let request = self
                .post(&["refunds"], order, "refund", attempt)
                .form(&[("payment_intent", &payment.0)]);
            let response = send::<Refund>(request).await;
            // A repeated success is the response of a refund that has failed since, because the list does not
            // contain it.
            if response.permits_next_key(attempt) {
                attempt += 1;
                continue;
            }
            return match response.result {
                Ok(refund) if refund.is_effective() => Ok(()),
                Ok(_) => Err(PaymentError::Rejected {
                    status: 200,
                    code: "refund_failed".into(),
                }),
                Err(RequestError::ErrorResponse { body, .. }) if body.has_code("charge_already_refunded") => {
                    Ok(())
                }
                Err(error) => Err(error.into()),
            };
        }
    }

    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        // Without an idempotency key: a cancellation is idempotent, and with a key Stripe would repeat an
        // error response (for a payment that was just being confirmed) for a day.
        let request = self
            .http
            .post(self.url(&["payment_intents", &payment.0, "cancel"]));
        match send::<PaymentIntent>(request).await.result {
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
    last_payment_error: Option<StripeErrorDetails>,
    client_secret: Option<String>,
    next_action: Option<NextAction>,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

impl PaymentIntent {
    fn payment_status(&self) -> PaymentStatus {
        match self.status.as_str() {
            "succeeded" => PaymentStatus::Charged,
            "canceled" => PaymentStatus::Cancelled,
            _ => PaymentStatus::Open,
        }
    }

    /// Whether the status is the result of a confirmation.
    fn shows_confirmation(&self) -> bool {
        !matches!(self.status.as_str(), "requires_confirmation" | "canceled")
    }

    /// The result of the confirmation that was executed.
    fn into_confirmation(self) -> Result<Confirmation, PaymentError> {
        match self.status.as_str() {
            "succeeded" => Ok(Confirmation::Charged),
            "requires_payment_method" => Err(PaymentError::Declined {
                code: self.last_payment_error.unwrap_or_default().into_reason_code(),
            }),
            "requires_action" => match (self.next_action, self.client_secret) {
                (Some(action), Some(client_secret)) => Ok(Confirmation::ActionRequired(PaymentAction {
                    kind: action.kind,
                    client_secret: CustomerSecret::new(client_secret),
                    redirect_url: action.redirect_to_url.and_then(|redirect| redirect.url),
                })),
                _ => Err(PaymentError::Unavailable(
                    "the payment requires an action that the response does not contain".into(),
                )),
            },
            other => Err(PaymentError::Unavailable(
                format!("the payment has the status {other}").into(),
            )),
        }
    }
}

/// What the customer must do, with the fields that this client uses.
#[derive(Deserialize)]
struct NextAction {
    #[serde(rename = "type")]
    kind: String,
    redirect_to_url: Option<RedirectToUrl>,
}

#[derive(Deserialize)]
struct RedirectToUrl {
    url: Option<CustomerSecret>,
}

/// The fields of a refund that this client uses.
#[derive(Deserialize)]
struct Refund {
    amount: i64,
    status: Option<String>,
}

impl Refund {
    /// Whether the refund counts against the charge. A refund can be pending for days, and fails when the
    /// card's account is closed.
    fn is_effective(&self) -> bool {
        !matches!(self.status.as_deref(), Some("failed" | "canceled"))
    }
}

#[derive(Deserialize)]
struct RefundList {
    data: Vec<Refund>,
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
    /// Whether this request or an earlier one may have had the effect. Stripe returns a 400 when the
    /// payment's status no longer allows the request.
    fn is_ambiguous(&self) -> bool {
        match self {
            Self::NoResponse(_) => true,
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

/// The result of a request.
struct Response<T> {
    result: Result<T, RequestError>,
    /// Whether Stripe repeated the response that it had stored under the idempotency key.
    is_repeated: bool,
}

impl<T> Response<T> {
    fn is_server_error(&self) -> bool {
        matches!(&self.result, Err(RequestError::ErrorResponse { status, .. }) if status.is_server_error())
    }

    /// Whether the request may be sent under the next key, if it had no effect. A new server error permits
    /// that once per call: after a second one, the caller repeats the call later.
    fn permits_next_key(&self, attempt: u32) -> bool {
        self.is_repeated || (attempt == 1 && self.is_server_error())
    }
}

/// Sends a request and parses its response.
async fn send<T: DeserializeOwned>(request: RequestBuilder) -> Response<T> {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            return Response {
                result: Err(error.into()),
                is_repeated: false,
            };
        }
    };
    let is_repeated = response.headers().contains_key("idempotent-replayed");
    Response {
        result: parse(response).await,
        is_repeated,
    }
}

async fn parse<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, RequestError> {
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
