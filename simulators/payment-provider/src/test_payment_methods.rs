//! The payment methods there are, and what each does when it is charged.
//!
//! | method | when charged |
//! |---|---|
//! | `pm_card_visa`, `pm_card_mastercard`, `pm_card_jcb`, `pm_card_amex` | succeeds |
//! | `pm_card_chargeDeclined`, `pm_card_visa_chargeDeclined`, `pm_card_chargeCustomerFail` | declined: `generic_decline` |
//! | `pm_card_chargeDeclinedInsufficientFunds`, `pm_card_visa_chargeDeclinedInsufficientFunds` | declined: `insufficient_funds` |
//! | `pm_card_chargeDeclinedExpiredCard` | declined: `expired_card` |
//! | `pm_card_chargeDeclinedIncorrectCvc` | declined: `incorrect_cvc` |
//! | `pm_card_chargeDeclinedProcessingError` | declined: `processing_error` |
//! | `pm_slow` | succeeds, after `SLOW_SECONDS` |
//! | `pm_error_before_effect` | the first attempt at a payment answers 500 and has no effect |
//! | `pm_error_after_effect` | the charge happens, and the connection breaks before the answer is sent |
//! | `pm_unavailable` | answers 503 for `UNAVAILABLE_SECONDS` from the first attempt at a payment on |
//! | `pm_broken` | answers 500 without effect, always |
//!
//! The names with `card` are Stripe's own test methods, in the spellings it has had; the others are ours.

use serde::{Deserialize, Serialize};

/// What a payment method does when it is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The money is taken.
    Succeeds,
    /// The bank refuses.
    Declines(Decline),
    /// The money is taken after a while.
    Slow,
    /// The first attempt fails without effect, the next succeeds.
    ErrorBeforeEffect,
    /// The money is taken and the answer is lost.
    ErrorAfterEffect,
    /// Attempts fail without effect for a while.
    Unavailable,
    /// Every attempt fails without effect.
    AlwaysFails,
}

impl Behaviour {
    /// The behaviour of the method with this name; none if there is no such method.
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

/// Why a bank refuses a charge, in Stripe's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decline {
    /// The bank gives no reason.
    GenericDecline,
    /// The account has too little on it.
    InsufficientFunds,
    /// The card is past its date.
    ExpiredCard,
    /// The security code is wrong.
    IncorrectCvc,
    /// The card network stumbled.
    ProcessingError,
}

impl Decline {
    /// Stripe's error code. It is coarser than [`decline_code`](Self::decline_code) for what banks decline,
    /// and its own word for what is wrong with the card.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::GenericDecline | Self::InsufficientFunds => "card_declined",
            other => other.decline_code(),
        }
    }

    /// Stripe's decline code.
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

    /// What a customer might be told.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::GenericDecline => "The card was declined.",
            Self::InsufficientFunds => "The card has insufficient funds.",
            Self::ExpiredCard => "The card has expired.",
            Self::IncorrectCvc => "The card's security code is incorrect.",
            Self::ProcessingError => "The card could not be processed just now. Try again in a little while.",
        }
    }
}
