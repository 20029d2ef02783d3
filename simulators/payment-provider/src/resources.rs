//! What the books hold: PaymentIntents and refunds, and how they look on the wire.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::test_payment_methods::Decline;

/// What a caller noted on an object.
pub type Metadata = BTreeMap<String, String>;

/// A payment, from the wish to the charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentIntent {
    /// `pi_…`
    pub id: String,
    /// In the currency's smallest unit; for JPY, which has no smaller one, in yen.
    pub amount: i64,
    /// ISO 4217 in small letters.
    pub currency: String,
    /// The caller's notes.
    pub metadata: Metadata,
    /// The method that a confirmation charges.
    pub payment_method: Option<String>,
    /// Where the payment stands.
    pub status: IntentStatus,
    /// The last attempt's charge, `ch_…`, whether it succeeded or not.
    pub latest_charge: Option<String>,
    /// Why the last attempt was declined.
    pub last_decline: Option<Decline>,
    /// Unix time in seconds.
    pub created: i64,
    /// Unix time in seconds.
    pub canceled_at: Option<i64>,
}

/// Where a PaymentIntent stands.
///
/// ```text
/// requires_payment_method ◄──► requires_confirmation ──► succeeded
///             │        (declined)        │
///             └──────────► canceled ◄────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// There is no method to charge: none was named yet, or the last was declined.
    RequiresPaymentMethod,
    /// All is there but the word to charge.
    RequiresConfirmation,
    /// The money was taken.
    Succeeded,
    /// Closed without a charge.
    Canceled,
}

impl IntentStatus {
    /// Whether the payment may still be charged or cancelled.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::RequiresPaymentMethod | Self::RequiresConfirmation)
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for IntentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PaymentIntent {
    /// As Stripe shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_received": if self.status == IntentStatus::Succeeded { self.amount } else { 0 },
            "canceled_at": self.canceled_at,
            "capture_method": "automatic_async",
            "client_secret": format!("{}_secret_simulated", self.id),
            "confirmation_method": "automatic",
            "created": self.created,
            "currency": self.currency,
            "last_payment_error": self.last_decline.map(|decline| json!({
                "type": "card_error",
                "code": decline.code(),
                "decline_code": decline.decline_code(),
                "message": decline.message(),
                "charge": self.latest_charge,
            })),
            "latest_charge": self.latest_charge,
            "livemode": false,
            "metadata": self.metadata,
            "next_action": null,
            "payment_method": self.payment_method,
            "payment_method_types": ["card"],
            "status": self.status.as_str(),
        })
    }
}

/// Money given back, all of a charge at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// `re_…`
    pub id: String,
    /// The payment it undoes.
    pub payment_intent: String,
    /// That payment's charge.
    pub charge: Option<String>,
    /// In the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217 in small letters.
    pub currency: String,
    /// The caller's notes.
    pub metadata: Metadata,
    /// Unix time in seconds.
    pub created: i64,
}

impl Refund {
    /// As Stripe shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "metadata": self.metadata,
            "payment_intent": self.payment_intent,
            "reason": null,
            "status": "succeeded",
        })
    }
}
