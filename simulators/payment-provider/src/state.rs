//! The books: every payment and refund, and every answer given. What is asked is decided here, from nothing
//! but the books, the time and the request; no I/O.

use std::collections::HashMap;

use domain::{Timestamp, ids::uuid_v7};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{
    api_error::ApiError,
    resources::{IntentStatus, Metadata, PaymentIntent, Refund},
    test_payment_methods::Behaviour,
};

/// What a caller wants to be done, valid in itself.
#[derive(Clone, Debug)]
pub enum Command {
    /// Makes a payment; with `confirm`, charges it at once.
    Create {
        /// In the currency's smallest unit.
        amount: i64,
        /// ISO 4217 in small letters.
        currency: String,
        /// The caller's notes.
        metadata: Metadata,
        /// The method to charge.
        payment_method: Option<String>,
        /// Whether to charge it at once.
        confirm: bool,
    },
    /// Charges a payment, with the method named or the one it has.
    Confirm {
        /// The payment.
        intent: String,
        /// The method to charge.
        payment_method: Option<String>,
    },
    /// Closes a payment that was not charged.
    Cancel {
        /// The payment.
        intent: String,
    },
    /// Gives back all of a payment.
    Refund {
        /// The payment.
        intent: String,
        /// The caller's notes.
        metadata: Metadata,
    },
}

/// What came of a [`Command`]. It holds the object as it is afterwards, so the books are the sum of the answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    /// The payment as it is now.
    Intent(PaymentIntent),
    /// The refund that was made.
    Refund(Refund),
    /// It could not be done.
    Refused(ApiError),
}

/// One line of the ledger: an answer, and the request that it must be given to again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The request, if it came with an idempotency key.
    pub request: Option<IdempotentRequest>,
    /// What came of it.
    pub answer: CommandOutcome,
}

/// A request that is to be carried out once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotentRequest {
    /// The idempotency key.
    pub key: String,
    /// The method, the path and the parameters.
    pub fingerprint: String,
}

/// All payments, refunds and keyed answers.
#[derive(Debug, Default)]
pub struct ProviderState {
    intents: IndexMap<String, PaymentIntent>,
    /// By the payment that they give back.
    refunds: IndexMap<String, Refund>,
    outcomes_by_key: HashMap<String, (String, CommandOutcome)>,
}

impl ProviderState {
    /// Takes an answer into the books.
    pub fn apply(&mut self, LedgerEntry { request, answer }: LedgerEntry) {
        let intent = match &answer {
            CommandOutcome::Intent(intent) => Some(intent),
            CommandOutcome::Refused(refusal) => refusal.intent.as_deref(),
            CommandOutcome::Refund(refund) => {
                self.refunds.insert(refund.payment_intent.clone(), refund.clone());
                None
            }
        };
        if let Some(intent) = intent {
            self.intents.insert(intent.id.clone(), intent.clone());
        }
        if let Some(IdempotentRequest { key, fingerprint }) = request {
            self.outcomes_by_key.insert(key, (fingerprint, answer));
        }
    }

    /// The answer given to this request before; none if the key is new.
    pub fn find_outcome(&self, request: &IdempotentRequest) -> Option<Result<CommandOutcome, ApiError>> {
        let (fingerprint, answer) = self.outcomes_by_key.get(&request.key)?;
        Some(if *fingerprint == request.fingerprint {
            Ok(answer.clone())
        } else {
            Err(ApiError::idempotency_key_reused())
        })
    }

    /// The payment with this id.
    pub fn find_intent(&self, id: &str) -> Result<&PaymentIntent, ApiError> {
        self.intents
            .get(id)
            .ok_or_else(|| ApiError::resource_missing("payment_intent", "intent", id).into_not_found())
    }

    /// Every payment, oldest first.
    pub fn intents(&self) -> impl DoubleEndedIterator<Item = &PaymentIntent> {
        self.intents.values()
    }

    /// Every refund, oldest first.
    pub fn refunds(&self) -> impl DoubleEndedIterator<Item = &Refund> {
        self.refunds.values()
    }

    /// What the method does that `command` would charge; none if it would charge nothing.
    #[must_use]
    pub fn charge_behaviour(&self, command: &Command) -> Option<Behaviour> {
        let method = match command {
            Command::Create {
                payment_method,
                confirm: true,
                ..
            } => payment_method.as_deref(),
            Command::Confirm {
                intent,
                payment_method,
            } => {
                let intent = self
                    .intents
                    .get(intent)
                    .filter(|intent| intent.status.is_open())?;
                payment_method.as_deref().or(intent.payment_method.as_deref())
            }
            _ => None,
        };
        Behaviour::for_payment_method(method?)
    }

    /// What is to be answered, and so to be recorded.
    #[must_use]
    pub fn decide(&self, command: Command, now: Timestamp) -> CommandOutcome {
        let decision = match command {
            Command::Create {
                amount,
                currency,
                metadata,
                payment_method,
                confirm,
            } => {
                let intent = PaymentIntent {
                    id: new_id("pi", now),
                    amount,
                    currency,
                    metadata,
                    status: match payment_method {
                        Some(_) => IntentStatus::RequiresConfirmation,
                        None => IntentStatus::RequiresPaymentMethod,
                    },
                    payment_method,
                    latest_charge: None,
                    last_decline: None,
                    created: now.timestamp(),
                    canceled_at: None,
                };
                if confirm {
                    charge(intent, now)
                } else {
                    Ok(CommandOutcome::Intent(intent))
                }
            }
            Command::Confirm {
                intent,
                payment_method,
            } => self.find_intent(&intent).and_then(|intent| {
                let mut intent = intent.clone();
                if intent.status.is_open() && payment_method.is_some() {
                    intent.payment_method = payment_method;
                }
                charge(intent, now)
            }),
            Command::Cancel { intent } => self.find_intent(&intent).and_then(|intent| {
                let mut intent = intent.clone();
                if !intent.status.is_open() {
                    return Err(ApiError::unexpected_state("cancel", intent));
                }
                intent.status = IntentStatus::Canceled;
                intent.canceled_at = Some(now.timestamp());
                Ok(CommandOutcome::Intent(intent))
            }),
            Command::Refund { intent, metadata } => self.refund(&intent, metadata, now),
        };
        decision.unwrap_or_else(CommandOutcome::Refused)
    }

    fn refund(&self, intent: &str, metadata: Metadata, now: Timestamp) -> Result<CommandOutcome, ApiError> {
        let Some(intent) = self.intents.get(intent) else {
            return Err(ApiError::resource_missing(
                "payment_intent",
                "payment_intent",
                intent,
            ));
        };
        if intent.status != IntentStatus::Succeeded {
            let message = format!("PaymentIntent {} has no successful charge to refund.", intent.id);
            return Err(ApiError {
                param: Some("payment_intent".into()),
                ..ApiError::invalid_request(message)
            });
        }
        if self.refunds.contains_key(&intent.id) {
            let message = format!("The charge of {} has already been refunded.", intent.id);
            return Err(ApiError {
                code: Some("charge_already_refunded".into()),
                ..ApiError::invalid_request(message)
            });
        }
        Ok(CommandOutcome::Refund(Refund {
            id: new_id("re", now),
            payment_intent: intent.id.clone(),
            charge: intent.latest_charge.clone(),
            amount: intent.amount,
            currency: intent.currency.clone(),
            metadata,
            created: now.timestamp(),
        }))
    }
}

/// Charges the payment's method.
fn charge(mut intent: PaymentIntent, now: Timestamp) -> Result<CommandOutcome, ApiError> {
    let behaviour = intent
        .payment_method
        .as_deref()
        .and_then(Behaviour::for_payment_method);
    let Some(behaviour) = behaviour.filter(|_| intent.status.is_open()) else {
        return Err(ApiError::unexpected_state("confirm", intent));
    };
    intent.latest_charge = Some(new_id("ch", now));
    if let Behaviour::Declines(decline) = behaviour {
        intent.status = IntentStatus::RequiresPaymentMethod;
        intent.payment_method = None;
        intent.last_decline = Some(decline);
        return Err(ApiError::card_declined(decline, intent));
    }
    intent.status = IntentStatus::Succeeded;
    intent.last_decline = None;
    Ok(CommandOutcome::Intent(intent))
}

fn new_id(prefix: &str, now: Timestamp) -> String {
    format!("{prefix}_{}", uuid_v7(now).simple())
}
