//! The supported payment methods and how the requests of a payment with each behave.
//!
//! | method | behaviour |
//! |---|---|
//! | `pm_card_visa`, `pm_card_mastercard`, `pm_card_jcb`, `pm_card_amex` | succeeds |
//! | `pm_card_chargeDeclined` | declined: `generic_decline` |
//! | `pm_card_visa_chargeDeclined` | declined: `generic_decline` |
//! | `pm_card_chargeCustomerFail` | declined: `generic_decline` |
//! | `pm_card_chargeDeclinedInsufficientFunds` | declined: `insufficient_funds` |
//! | `pm_card_visa_chargeDeclinedInsufficientFunds` | declined: `insufficient_funds` |
//! | `pm_card_chargeDeclinedExpiredCard` | declined: `expired_card` |
//! | `pm_card_chargeDeclinedIncorrectCvc` | declined: `incorrect_cvc` |
//! | `pm_card_chargeDeclinedProcessingError` | declined: `processing_error` |
//! | `pm_card_threeDSecure2Required`, `pm_card_threeDSecureRequired` | requires 3D Secure, then succeeds |
//! | `pm_card_authenticationRequired` | requires 3D Secure, then succeeds |
//! | `pm_card_threeDSecureRequiredChargeDeclined` | requires 3D Secure, then declined: `generic_decline` |
//! | `pm_card_authenticationRequiredChargeDeclinedInsufficientFunds` | the same: `insufficient_funds` |
//! | `pm_card_refundFail` | succeeds; a refund succeeds first and fails `SLOW_SECONDS` later |
//! | `pm_card_createDispute` | succeeds and is disputed `SLOW_SECONDS` later |
//! | `pm_slow` | succeeds after `SLOW_SECONDS` |
//! | `pm_unavailable` | fails with 503 for `UNAVAILABLE_SECONDS` after the first attempt of a payment |
//! | `pm_broken` | every charge fails with 500 and has no effect |
//! | `pm_charged_after_cancel` | as `pm_broken`; a cancelled payment is charged `SLOW_SECONDS` later |
//! | `pm_error_before_effect` | the first charge of a payment fails with 500 and has no effect |
//! | `pm_error_after_confirm` | the first charge of a payment succeeds, and the response is a 500 |
//! | `pm_error_after_effect` | the charge succeeds, and the connection breaks before the response |
//! | `pm_error_before_create` | the first creation fails with 500 and has no effect |
//! | `pm_error_after_create` | the first creation succeeds, and the response is a 500 |
//! | `pm_error_before_cancel` | as `pm_broken`; the first cancellation fails with 500 and has no effect |
//! | `pm_error_after_cancel` | as `pm_broken`; the first cancellation succeeds, and the response is a 500 |
//! | `pm_error_before_refund` | the first refund fails with 500 and has no effect |
//! | `pm_error_after_refund` | the first refund succeeds, and the response is a 500 |
//!
//! The names with `card` are Stripe's test methods, in current and former spellings. The others are our own.
//! A 500 is stored under the idempotency key and repeated, as with Stripe. The 503 stands for a failure in
//! front of the API, which stores nothing.

use serde::{Deserialize, Serialize};

use crate::api_error::ErrorType;

/// How the requests of a payment behave. What does not name an [`Operation`] concerns charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Succeeds,
    Declines(Decline),
    /// The customer must authenticate. The bank declines or accepts the charge afterwards.
    RequiresAuthentication(Option<Decline>),
    /// The charge succeeds, and a refund fails `SLOW_SECONDS` after it has succeeded.
    RefundFails,
    /// The charge succeeds and is disputed.
    Disputed,
    /// The charge succeeds after `SLOW_SECONDS`.
    Slow,
    /// The charge succeeds and its response is lost.
    ResponseLost,
    /// Attempts fail without effect for `UNAVAILABLE_SECONDS`.
    Unavailable,
    /// Every attempt fails without effect.
    AlwaysFails,
    /// Every attempt fails without effect, and the bank charges the payment after its cancellation.
    ChargedAfterCancel,
    /// The first attempt of this operation fails without effect. The next one succeeds.
    ErrorBefore(Operation),
    /// The first attempt of this operation takes effect and responds with an error.
    ErrorAfter(Operation),
}

/// What a request does to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A creation that does not charge.
    Create,
    Charge,
    Cancel,
    Refund,
}

impl Behaviour {
    /// Returns `None` when the payment method does not exist.
    #[must_use]
    pub fn for_payment_method(method: &str) -> Option<Self> {
        Some(match method {
            "pm_card_visa" | "pm_card_mastercard" | "pm_card_jcb" | "pm_card_amex" => Self::Succeeds,
            "pm_card_chargeDeclined" | "pm_card_visa_chargeDeclined" | "pm_card_chargeCustomerFail" => {
                Self::Declines(Decline::GenericDecline)
            }
            "pm_card_chargeDeclinedInsufficientFunds" | "pm_card_visa_chargeDeclinedInsufficientFunds" => {
                Self::Declines(Decline::InsufficientFunds)
            }
            "pm_card_chargeDeclinedExpiredCard" => Self::Declines(Decline::ExpiredCard),
            "pm_card_chargeDeclinedIncorrectCvc" => Self::Declines(Decline::IncorrectCvc),
            "pm_card_chargeDeclinedProcessingError" => Self::Declines(Decline::ProcessingError),
            "pm_card_threeDSecure2Required"
            | "pm_card_threeDSecureRequired"
            | "pm_card_authenticationRequired" => Self::RequiresAuthentication(None),
            "pm_card_threeDSecureRequiredChargeDeclined" => {
                Self::RequiresAuthentication(Some(Decline::GenericDecline))
            }
            "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds" => {
                Self::RequiresAuthentication(Some(Decline::InsufficientFunds))
            }
            "pm_card_refundFail" => Self::RefundFails,
            "pm_card_createDispute" => Self::Disputed,
            "pm_slow" => Self::Slow,
            "pm_unavailable" => Self::Unavailable,
            "pm_broken" => Self::AlwaysFails,
            "pm_charged_after_cancel" => Self::ChargedAfterCancel,
            "pm_error_before_effect" => Self::ErrorBefore(Operation::Charge),
            "pm_error_after_confirm" => Self::ErrorAfter(Operation::Charge),
            "pm_error_after_effect" => Self::ResponseLost,
            "pm_error_before_create" => Self::ErrorBefore(Operation::Create),
            "pm_error_after_create" => Self::ErrorAfter(Operation::Create),
            "pm_error_before_cancel" => Self::ErrorBefore(Operation::Cancel),
            "pm_error_after_cancel" => Self::ErrorAfter(Operation::Cancel),
            "pm_error_before_refund" => Self::ErrorBefore(Operation::Refund),
            "pm_error_after_refund" => Self::ErrorAfter(Operation::Refund),
            _ => return None,
        })
    }
}

/// Why a charge failed: Stripe's decline codes, and the customer's failed authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decline {
    GenericDecline,
    InsufficientFunds,
    ExpiredCard,
    IncorrectCvc,
    ProcessingError,
    /// The customer did not authenticate.
    AuthenticationFailure,
}

impl Decline {
    /// Stripe's error code. It is `card_declined` for every decline by the bank, and equal to
    /// [`decline_code`](Self::decline_code) for problems with the card.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::GenericDecline | Self::InsufficientFunds => "card_declined",
            Self::ExpiredCard => "expired_card",
            Self::IncorrectCvc => "incorrect_cvc",
            Self::ProcessingError => "processing_error",
            Self::AuthenticationFailure => "payment_intent_authentication_failure",
        }
    }

    /// `None` for a failed authentication: the bank was not asked for the charge.
    #[must_use]
    pub fn decline_code(self) -> Option<&'static str> {
        match self {
            Self::GenericDecline => Some("generic_decline"),
            Self::InsufficientFunds => Some("insufficient_funds"),
            Self::ExpiredCard | Self::IncorrectCvc | Self::ProcessingError => Some(self.code()),
            Self::AuthenticationFailure => None,
        }
    }

    /// Stripe's error type.
    #[must_use]
    pub fn error_type(self) -> ErrorType {
        match self {
            Self::AuthenticationFailure => ErrorType::InvalidRequest,
            _ => ErrorType::Card,
        }
    }

    /// A message for the customer.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::GenericDecline => "The card was declined.",
            Self::InsufficientFunds => "The card has insufficient funds.",
            Self::ExpiredCard => "The card has expired.",
            Self::IncorrectCvc => "The card's security code is incorrect.",
            Self::ProcessingError => "The card could not be processed. Try again later.",
            Self::AuthenticationFailure => "The provided payment method has failed authentication.",
        }
    }
}
