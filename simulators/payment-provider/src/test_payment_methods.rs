//! The supported payment methods and how a charge of each behaves.
//!
//! | method | behaviour of a charge |
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
//! | `pm_slow` | succeeds after `SLOW_SECONDS` |
//! | `pm_error_before_effect` | the first attempt of a payment fails with 500 and has no effect |
//! | `pm_error_after_effect` | the charge succeeds, and the connection breaks before the response |
//! | `pm_unavailable` | fails with 503 for `UNAVAILABLE_SECONDS` after the first attempt of a payment |
//! | `pm_broken` | always fails with 500 and has no effect |
//!
//! The names with `card` are Stripe's test methods, in current and former spellings. The others are our own.

use serde::{Deserialize, Serialize};

/// How a charge of a payment method behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Succeeds,
    Declines(Decline),
    /// The charge succeeds after `SLOW_SECONDS`.
    Slow,
    /// The first attempt fails without effect. The next one succeeds.
    ErrorBeforeEffect,
    /// The charge succeeds and its response is lost.
    ErrorAfterEffect,
    /// Attempts fail without effect for `UNAVAILABLE_SECONDS`.
    Unavailable,
    /// Every attempt fails without effect.
    AlwaysFails,
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
            "pm_slow" => Self::Slow,
            "pm_error_before_effect" => Self::ErrorBeforeEffect,
            "pm_error_after_effect" => Self::ErrorAfterEffect,
            "pm_unavailable" => Self::Unavailable,
            "pm_broken" => Self::AlwaysFails,
            _ => return None,
        })
    }
}

/// Stripe's decline codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decline {
    GenericDecline,
    InsufficientFunds,
    ExpiredCard,
    IncorrectCvc,
    ProcessingError,
}

impl Decline {
    /// Stripe's error code. It is `card_declined` for every decline by the bank, and equal to
    /// [`decline_code`](Self::decline_code) for problems with the card.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::GenericDecline | Self::InsufficientFunds => "card_declined",
            other => other.decline_code(),
        }
    }

    #[must_use]
    pub fn decline_code(self) -> &'static str {
        match self {
            Self::GenericDecline => "generic_decline",
            Self::InsufficientFunds => "insufficient_funds",
            Self::ExpiredCard => "expired_card",
            Self::IncorrectCvc => "incorrect_cvc",
            Self::ProcessingError => "processing_error",
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
        }
    }
}
