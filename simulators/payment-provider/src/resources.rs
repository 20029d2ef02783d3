//! The resources PaymentIntent and Refund, and their JSON in Stripe's format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::test_payment_methods::Decline;

/// Key-value pairs that the caller attaches to a resource.
pub type Metadata = BTreeMap<String, String>;

/// A payment from its creation to its charge or cancellation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentIntent {
    /// `pi_…`
    pub id: String,
    /// The key of the customer's browser to this payment.
    #[serde(default)]
    pub client_secret: String,
    /// In the currency's smallest unit: yen for JPY.
    pub amount: i64,
    /// ISO 4217 in lower case.
    pub currency: String,
    pub metadata: Metadata,
    /// The payment method that a confirmation charges.
    pub payment_method: Option<String>,
    pub status: IntentStatus,
    /// The charge of the last attempt, `ch_…`, whether it succeeded or was declined.
    pub latest_charge: Option<String>,
    /// The decline of the last attempt. `None` when it succeeded.
    pub last_decline: Option<Decline>,
    /// Set while the status is `requires_action`.
    #[serde(default)]
    pub authentication: Option<Authentication>,
    /// Unix time in seconds.
    pub created: i64,
    /// Unix time in seconds.
    pub canceled_at: Option<i64>,
}

/// The 3D Secure authentication for which a payment waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// Identifies the attempt: a new confirmation starts a new one.
    pub id: String,
    /// The page on which the customer authenticates.
    pub page_url: String,
    /// Where the page sends the customer afterwards.
    pub return_url: Option<String>,
}

impl Authentication {
    /// Stripe's `next_action`. Without a return URL, only Stripe's browser library can show the page.
    fn to_json(&self) -> Value {
        match &self.return_url {
            Some(return_url) => json!({
                "type": "redirect_to_url",
                "redirect_to_url": { "return_url": return_url, "url": self.page_url },
            }),
            None => json!({
                "type": "use_stripe_sdk",
                "use_stripe_sdk": { "type": "three_d_secure_redirect", "stripe_js": self.page_url },
            }),
        }
    }
}

/// The status of a PaymentIntent.
///
/// ```text
/// requires_payment_method ◄──► requires_confirmation ──► succeeded
///          │      ▲   (declined)      │       │              ▲
///          │      │                   │       └─► requires_action
///          │      └──── (denied or declined) ──────────┘ │
///          └────────────► canceled ◄──┴──────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum IntentStatus {
    /// No payment method is set, or the last one was declined.
    RequiresPaymentMethod,
    /// A payment method is set, and the charge is not confirmed yet.
    RequiresConfirmation,
    /// The customer must authenticate.
    RequiresAction,
    Succeeded,
    /// Cancelled without a charge.
    Canceled,
}

impl IntentStatus {
    /// Returns whether the payment can still be charged or cancelled.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::RequiresPaymentMethod | Self::RequiresConfirmation | Self::RequiresAction
        )
    }

    /// Stripe's name of the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl PaymentIntent {
    /// Converts to JSON in Stripe's format.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_received": if self.status == IntentStatus::Succeeded { self.amount } else { 0 },
            "canceled_at": self.canceled_at,
            "capture_method": "automatic_async",
            "client_secret": self.client_secret,
            "confirmation_method": "automatic",
            "created": self.created,
            "currency": self.currency,
            "last_payment_error": self.last_decline.map(|decline| json!({
                "type": decline.error_type(),
                "code": decline.code(),
                "decline_code": decline.decline_code(),
                "message": decline.message(),
                "charge": self.latest_charge,
            })),
            "latest_charge": self.latest_charge,
            "livemode": false,
            "metadata": self.metadata,
            "next_action": self.authentication.as_ref().map(Authentication::to_json),
            "payment_method": self.payment_method,
            "payment_method_types": ["card"],
            "status": self.status.as_str(),
        })
    }
}

/// The status of a refund. Stripe reports a refund as succeeded before the customer's bank has accepted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    #[default]
    Succeeded,
    Failed,
}

/// A refund of the whole amount of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// `re_…`
    pub id: String,
    /// The id of the refunded payment.
    pub payment_intent: String,
    /// The charge of that payment.
    pub charge: Option<String>,
    /// In the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217 in lower case.
    pub currency: String,
    pub metadata: Metadata,
    #[serde(default)]
    pub status: RefundStatus,
    /// Unix time in seconds.
    pub created: i64,
}

/// A customer's objection to a charge, made at the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// `dp_…`
    pub id: String,
    /// The id of the disputed payment.
    pub payment_intent: String,
    /// The charge of that payment.
    pub charge: Option<String>,
    /// In the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217 in lower case.
    pub currency: String,
    /// Unix time in seconds.
    pub created: i64,
}

impl Dispute {
    /// Converts to JSON in Stripe's format.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "dispute",
            "amount": self.amount,
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "livemode": false,
            "payment_intent": self.payment_intent,
            "reason": "fraudulent",
            "status": "needs_response",
        })
    }
}

impl Refund {
    /// Converts to JSON in Stripe's format.
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
            "status": self.status,
        })
    }
}
