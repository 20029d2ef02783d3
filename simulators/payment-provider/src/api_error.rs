//! Errors in Stripe's shape.

use std::borrow::Cow;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    resources::{IntentStatus, PaymentIntent},
    test_payment_methods::Decline,
};

type Text = Cow<'static, str>;

/// A request that was not done, and why. It is kept in the ledger where it is the answer to a request that
/// was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// Stripe's `type`.
    pub kind: ErrorType,
    /// Stripe's `code`.
    pub code: Option<Text>,
    /// Why a bank declined.
    pub decline_code: Option<Text>,
    /// For a developer to read.
    pub message: Text,
    /// The parameter that is wrong.
    pub param: Option<Text>,
    /// The payment as it stands after the refusal.
    pub intent: Option<Box<PaymentIntent>>,
}

/// Stripe's families of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorType {
    /// The provider failed.
    #[serde(rename = "api_error")]
    Api,
    /// A bank declined.
    #[serde(rename = "card_error")]
    Card,
    /// An idempotency key was used wrongly.
    #[serde(rename = "idempotency_error")]
    Idempotency,
    /// The request is wrong, or not possible now.
    #[serde(rename = "invalid_request_error")]
    InvalidRequest,
}

impl ApiError {
    fn new(status: StatusCode, kind: ErrorType, code: Option<&'static str>, message: Text) -> Self {
        Self {
            status: status.as_u16(),
            kind,
            code: code.map(Into::into),
            decline_code: None,
            message,
            param: None,
            intent: None,
        }
    }

    /// The request is wrong.
    pub fn invalid_request(message: impl Into<Text>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorType::InvalidRequest,
            None,
            message.into(),
        )
    }

    /// A parameter is wrong.
    pub fn invalid_param(param: impl Into<Text>, code: &'static str, message: impl Into<Text>) -> Self {
        Self {
            param: Some(param.into()),
            code: Some(code.into()),
            ..Self::invalid_request(message)
        }
    }

    /// A parameter names something that does not exist; for what the URL itself names, see
    /// [`in_url`](Self::in_url).
    #[must_use]
    pub fn resource_missing(object: &str, param: &'static str, id: &str) -> Self {
        Self::invalid_param(param, "resource_missing", format!("No such {object}: '{id}'"))
    }

    /// The same, where it is the URL that names it.
    #[must_use]
    pub fn into_not_found(self) -> Self {
        Self {
            status: StatusCode::NOT_FOUND.as_u16(),
            ..self
        }
    }

    /// There is no test key with the request.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED.as_u16(),
            ..Self::invalid_request(
                "Send a test key (sk_test_…) as bearer token or as the user of basic authentication.",
            )
        }
    }

    /// No endpoint has this method and path.
    #[must_use]
    pub fn unknown_url() -> Self {
        Self {
            status: StatusCode::NOT_FOUND.as_u16(),
            ..Self::invalid_request("Unrecognized request URL or method.")
        }
    }

    /// The body is larger than any request needs.
    #[must_use]
    pub fn payload_too_large() -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE.as_u16(),
            ..Self::invalid_request("The request's body is too large.")
        }
    }

    /// The key was used for another request before.
    #[must_use]
    pub fn idempotency_key_reused() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorType::Idempotency,
            None,
            "This idempotency key was first used with another endpoint or other parameters.".into(),
        )
    }

    /// A request with the same key is under way.
    #[must_use]
    pub fn idempotency_key_in_use() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            ErrorType::Idempotency,
            Some("idempotency_key_in_use"),
            "Another request with this idempotency key is in progress.".into(),
        )
    }

    /// Something broke on this side.
    #[must_use]
    pub fn internal_error() -> Self {
        let message = "Something went wrong on the provider's side.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorType::Api,
            None,
            message.into(),
        )
    }

    /// The provider cannot work just now.
    #[must_use]
    pub fn unavailable() -> Self {
        let message = "The provider is not available just now.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::Api,
            None,
            message.into(),
        )
    }

    /// A bank declined the charge.
    #[must_use]
    pub fn card_declined(decline: Decline, intent: PaymentIntent) -> Self {
        Self {
            decline_code: Some(decline.decline_code().into()),
            intent: Some(intent.into()),
            ..Self::new(
                StatusCode::PAYMENT_REQUIRED,
                ErrorType::Card,
                Some(decline.code()),
                decline.message().into(),
            )
        }
    }

    /// The payment cannot do this where it stands; `action` is a verb.
    #[must_use]
    pub fn unexpected_state(action: &str, intent: PaymentIntent) -> Self {
        let message = match intent.status {
            IntentStatus::RequiresPaymentMethod => {
                format!("You cannot {action} this PaymentIntent: it is missing a payment method.")
            }
            status => {
                format!(
                    "You cannot {action} this PaymentIntent: it has a status of {}.",
                    status.as_str()
                )
            }
        };
        Self {
            code: Some("payment_intent_unexpected_state".into()),
            intent: Some(intent.into()),
            ..Self::invalid_request(message)
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({ "type": self.kind, "message": self.message });
        let parts = [
            ("code", self.code),
            ("decline_code", self.decline_code),
            ("param", self.param),
        ];
        for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            error[name] = value.into();
        }
        if let Some(intent) = self.intent {
            if self.kind == ErrorType::Card {
                error["charge"] = intent.latest_charge.clone().into();
            }
            error["payment_intent"] = intent.to_json();
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({ "error": error }))).into_response()
    }
}
