//! Errors in Stripe's format.

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

/// An error response. The ledger stores it when it is the outcome of an executed command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// Stripe's `type`.
    pub kind: ErrorType,
    /// Stripe's `code`.
    pub code: Option<Text>,
    /// Stripe's `decline_code`.
    pub decline_code: Option<Text>,
    /// A message for developers.
    pub message: Text,
    /// The name of the invalid parameter.
    pub param: Option<Text>,
    /// The payment after the failed command.
    pub intent: Option<Box<PaymentIntent>>,
}

/// Stripe's error types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorType {
    /// An internal error of the provider.
    #[serde(rename = "api_error")]
    Api,
    /// A declined card.
    #[serde(rename = "card_error")]
    Card,
    /// A wrong use of an idempotency key.
    #[serde(rename = "idempotency_error")]
    Idempotency,
    /// An invalid request, or one that the resource's status does not allow.
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

    /// 400 for an invalid request.
    pub fn invalid_request(message: impl Into<Text>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorType::InvalidRequest,
            None,
            message.into(),
        )
    }

    /// 400 for an invalid parameter.
    pub fn invalid_param(param: impl Into<Text>, code: &'static str, message: impl Into<Text>) -> Self {
        Self {
            param: Some(param.into()),
            code: Some(code.into()),
            ..Self::invalid_request(message)
        }
    }

    /// 400 for a parameter that refers to a missing resource. [`into_not_found`](Self::into_not_found)
    /// converts it for resources in the URL.
    #[must_use]
    pub fn resource_missing(object: &str, param: &'static str, id: &str) -> Self {
        Self::invalid_param(param, "resource_missing", format!("No such {object}: '{id}'"))
    }

    /// Changes the status to 404, for a missing resource in the URL.
    #[must_use]
    pub fn into_not_found(self) -> Self {
        Self {
            status: StatusCode::NOT_FOUND.as_u16(),
            ..self
        }
    }

    /// 401 for a request without a test key.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED.as_u16(),
            ..Self::invalid_request(
                "Send a test key (sk_test_…) as bearer token or as the user name of basic authentication.",
            )
        }
    }

    /// 404 for an unknown method or path.
    #[must_use]
    pub fn unknown_url() -> Self {
        Self {
            status: StatusCode::NOT_FOUND.as_u16(),
            ..Self::invalid_request("Unrecognized request URL or method.")
        }
    }

    /// 413 for a request body above the limit.
    #[must_use]
    pub fn payload_too_large() -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE.as_u16(),
            ..Self::invalid_request("Request body too large.")
        }
    }

    /// 400 for an idempotency key that was used for a different request.
    #[must_use]
    pub fn idempotency_key_reused() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorType::Idempotency,
            None,
            "This idempotency key was first used with another endpoint or other parameters.".into(),
        )
    }

    /// 409 while a request with the same key is in progress.
    #[must_use]
    pub fn idempotency_key_in_use() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            ErrorType::Idempotency,
            Some("idempotency_key_in_use"),
            "Another request with this idempotency key is in progress.".into(),
        )
    }

    /// 500 for an internal error.
    #[must_use]
    pub fn internal_error() -> Self {
        let message = "Internal error of the payment provider.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorType::Api,
            None,
            message.into(),
        )
    }

    /// 503 while the provider is unavailable.
    #[must_use]
    pub fn unavailable() -> Self {
        let message = "The payment provider is temporarily unavailable.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::Api,
            None,
            message.into(),
        )
    }

    /// 402 for a declined charge.
    #[must_use]
    pub fn card_declined(decline: Decline, intent: PaymentIntent) -> Self {
        Self {
            decline_code: decline.decline_code().map(Into::into),
            intent: Some(intent.into()),
            ..Self::new(
                StatusCode::PAYMENT_REQUIRED,
                ErrorType::Card,
                Some(decline.code()),
                decline.message().into(),
            )
        }
    }

    /// 400 for an action that the payment's status does not allow. `action` is a verb.
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
        let optional_fields = [
            ("code", self.code),
            ("decline_code", self.decline_code),
            ("param", self.param),
        ];
        for (name, value) in optional_fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
        {
            error[name] = value.into();
        }
        if let Some(intent) = self.intent {
            if self.kind == ErrorType::Card {
                error["charge"] = intent.latest_charge.clone().into();
            }
            error["payment_intent"] = intent.to_json();
        }
        // Only an edited ledger can contain an invalid status.
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({ "error": error }))).into_response()
    }
}
