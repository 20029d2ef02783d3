//! The provider's state: all payments, refunds and outcomes by idempotency key. It decides commands from the
//! state and the current time, without I/O.

use std::collections::HashMap;

use domain::{Timestamp, ids::uuid_v7};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{
    api_error::ApiError,
    resources::{Authentication, Dispute, IntentStatus, Metadata, PaymentIntent, Refund, RefundStatus},
    test_payment_methods::{Behaviour, Decline, Operation},
};

/// A validated command of a caller.
#[derive(Clone, Debug)]
pub enum Command {
    /// Creates a payment. With `confirm`, charges it immediately.
    Create {
        /// In the currency's smallest unit.
        amount: i64,
        /// ISO 4217 in lower case.
        currency: String,
        metadata: Metadata,
        payment_method: Option<String>,
        confirm: bool,
        return_url: Option<String>,
    },
    /// Charges a payment, or requires the customer to authenticate. `payment_method` replaces the method that
    /// the payment has.
    Confirm {
        intent: String,
        payment_method: Option<String>,
        return_url: Option<String>,
    },
    /// Ends the customer's authentication. The customer does so, on the page.
    Authenticate {
        intent: String,
        authentication: String,
        is_approved: bool,
    },
    /// Cancels a payment that was not charged.
    Cancel { intent: String },
    /// Refunds the whole amount of a payment.
    Refund { intent: String, metadata: Metadata },
    /// Charges a payment after its cancellation. The customer's bank does so.
    ChargeCancelled(PaymentIntent),
    /// Makes a refund fail. The customer's bank does so.
    FailRefund(Refund),
    /// Disputes a payment that was charged. The customer's bank does so.
    Dispute(PaymentIntent),
}

impl Command {
    /// Returns `None` for what the customer or the bank does.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        Some(match self {
            Self::Create { confirm: false, .. } => Operation::Create,
            Self::Create { confirm: true, .. } | Self::Confirm { .. } => Operation::Charge,
            Self::Cancel { .. } => Operation::Cancel,
            Self::Refund { .. } => Operation::Refund,
            Self::Authenticate { .. } | Self::ChargeCancelled(_) | Self::FailRefund(_) | Self::Dispute(_) => {
                return None;
            }
        })
    }
}

/// The outcome of a [`Command`]. It contains the resource after the command, so applying all outcomes in
/// sequence rebuilds the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    Intent(PaymentIntent),
    Refund(Refund),
    Dispute(Dispute),
    #[serde(rename = "refused")]
    Rejected(ApiError),
}

/// One line of the ledger: an outcome, and the request for which it is replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// `None` when the request had no idempotency key.
    pub request: Option<IdempotentRequest>,
    #[serde(rename = "answer")]
    pub outcome: CommandOutcome,
    /// Whether the client gets a 500 instead of the outcome.
    #[serde(default)]
    pub is_hidden_by_error: bool,
}

impl LedgerEntry {
    /// The response to the request and to its repetitions.
    #[must_use]
    pub fn response(&self) -> CommandOutcome {
        if self.is_hidden_by_error {
            CommandOutcome::Rejected(ApiError::internal_error())
        } else {
            self.outcome.clone()
        }
    }
}

/// A request that is executed at most once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotentRequest {
    pub key: String,
    /// Method, path and parameters.
    pub fingerprint: String,
}

#[derive(Debug, Default)]
pub struct ProviderState {
    intents: IndexMap<String, PaymentIntent>,
    refunds: IndexMap<String, Refund>,
    disputes: IndexMap<String, Dispute>,
    /// Idempotency key → (fingerprint of the request, response).
    responses_by_key: HashMap<String, (String, CommandOutcome)>,
    /// The origin of the authentication pages.
    public_url: String,
}

impl ProviderState {
    /// Sets the origin of the authentication pages.
    #[must_use]
    pub fn with_public_url(self, public_url: String) -> Self {
        Self { public_url, ..self }
    }

    /// Applies an outcome to the state.
    pub fn apply(&mut self, entry: LedgerEntry) {
        let intent = match &entry.outcome {
            CommandOutcome::Intent(intent) => Some(intent),
            CommandOutcome::Rejected(error) => error.intent.as_deref(),
            CommandOutcome::Refund(refund) => {
                self.refunds.insert(refund.id.clone(), refund.clone());
                None
            }
            CommandOutcome::Dispute(dispute) => {
                self.disputes.insert(dispute.id.clone(), dispute.clone());
                None
            }
        };
        if let Some(intent) = intent {
            self.intents.insert(intent.id.clone(), intent.clone());
        }
        let response = entry.response();
        if let Some(IdempotentRequest { key, fingerprint }) = entry.request {
            self.responses_by_key.insert(key, (fingerprint, response));
        }
    }

    /// Returns the stored response to this request, or `None` when its key is new.
    pub fn find_response(&self, request: &IdempotentRequest) -> Option<Result<CommandOutcome, ApiError>> {
        let (fingerprint, response) = self.responses_by_key.get(&request.key)?;
        Some(if *fingerprint == request.fingerprint {
            Ok(response.clone())
        } else {
            Err(ApiError::idempotency_key_reused())
        })
    }

    /// Fails with 404 when the payment does not exist.
    pub fn find_intent(&self, id: &str) -> Result<&PaymentIntent, ApiError> {
        self.intents
            .get(id)
            .ok_or_else(|| ApiError::resource_missing("payment_intent", "intent", id).into_not_found())
    }

    /// Iterates over all payments, oldest first.
    pub fn intents(&self) -> impl DoubleEndedIterator<Item = &PaymentIntent> {
        self.intents.values()
    }

    /// Iterates over all refunds, oldest first.
    pub fn refunds(&self) -> impl DoubleEndedIterator<Item = &Refund> {
        self.refunds.values()
    }

    /// Iterates over all disputes, oldest first.
    pub fn disputes(&self) -> impl DoubleEndedIterator<Item = &Dispute> {
        self.disputes.values()
    }

    /// Returns the behaviour of the payment that `command` concerns. Returns `None` when it has no payment
    /// method, and when the command charges a payment that is not open.
    #[must_use]
    pub fn behaviour(&self, command: &Command) -> Option<Behaviour> {
        let method = match command {
            Command::Create { payment_method, .. } => payment_method.as_deref(),
            Command::Confirm {
                intent,
                payment_method,
                ..
            } => {
                let intent = self
                    .intents
                    .get(intent)
                    .filter(|intent| intent.status.is_open())?;
                payment_method.as_deref().or(intent.payment_method.as_deref())
            }
            Command::Cancel { intent } | Command::Refund { intent, .. } => {
                self.intents.get(intent)?.payment_method.as_deref()
            }
            Command::Authenticate { .. }
            | Command::ChargeCancelled(_)
            | Command::FailRefund(_)
            | Command::Dispute(_) => None,
        };
        Behaviour::for_payment_method(method?)
    }

    /// Returns what the customer's bank does because of this outcome, before it is applied.
    #[must_use]
    pub fn bank_command(&self, outcome: &CommandOutcome) -> Option<Command> {
        let behaviour = |intent: &PaymentIntent| {
            let method = intent.payment_method.as_deref()?;
            Behaviour::for_payment_method(method)
        };
        match outcome {
            CommandOutcome::Intent(intent) => match (intent.status, behaviour(intent)?) {
                (IntentStatus::Succeeded, Behaviour::Disputed) => Some(Command::Dispute(intent.clone())),
                (IntentStatus::Canceled, Behaviour::ChargedAfterCancel) => {
                    Some(Command::ChargeCancelled(intent.clone()))
                }
                _ => None,
            },
            CommandOutcome::Refund(refund) if refund.status == RefundStatus::Succeeded => {
                let intent = self.intents.get(&refund.payment_intent)?;
                (behaviour(intent)? == Behaviour::RefundFails).then(|| Command::FailRefund(refund.clone()))
            }
            _ => None,
        }
    }

    /// Decides a command. The caller records the outcome and applies it with [`apply`](Self::apply).
    #[must_use]
    pub fn decide(&self, command: Command, now: Timestamp) -> CommandOutcome {
        let decision = match command {
            Command::Create {
                amount,
                currency,
                metadata,
                payment_method,
                confirm,
                return_url,
            } => {
                let id = new_id("pi", now);
                let intent = PaymentIntent {
                    client_secret: format!("{id}_{}", new_id("secret", now)),
                    id,
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
                    authentication: None,
                    created: now.timestamp(),
                    canceled_at: None,
                };
                if confirm {
                    self.confirm(intent, return_url, now)
                } else {
                    Ok(CommandOutcome::Intent(intent))
                }
            }
            Command::Confirm {
                intent,
                payment_method,
                return_url,
            } => self.find_intent(&intent).and_then(|intent| {
                let mut intent = intent.clone();
                if intent.status.is_open() && payment_method.is_some() {
                    intent.payment_method = payment_method;
                }
                self.confirm(intent, return_url, now)
            }),
            Command::Authenticate {
                intent,
                authentication,
                is_approved,
            } => self
                .find_authentication(&intent, &authentication)
                .cloned()
                .and_then(|intent| match is_approved {
                    true => charge(intent, now),
                    false => {
                        let denied = decline(intent, Decline::AuthenticationFailure);
                        Ok(CommandOutcome::Intent(denied))
                    }
                }),
            Command::Cancel { intent } => self.find_intent(&intent).and_then(|intent| {
                let mut intent = intent.clone();
                if !intent.status.is_open() {
                    return Err(ApiError::unexpected_state("cancel", intent));
                }
                intent.status = IntentStatus::Canceled;
                intent.authentication = None;
                intent.canceled_at = Some(now.timestamp());
                Ok(CommandOutcome::Intent(intent))
            }),
            Command::Refund { intent, metadata } => self.refund(&intent, metadata, now),
            Command::ChargeCancelled(intent) => charge(intent, now),
            Command::FailRefund(refund) => Ok(CommandOutcome::Refund(Refund {
                status: RefundStatus::Failed,
                ..refund
            })),
            Command::Dispute(intent) => Ok(CommandOutcome::Dispute(Dispute {
                id: new_id("dp", now),
                payment_intent: intent.id,
                charge: intent.latest_charge,
                amount: intent.amount,
                currency: intent.currency,
                created: now.timestamp(),
            })),
        };
        decision.unwrap_or_else(CommandOutcome::Rejected)
    }

    /// Fails with 404 unless the payment waits for this authentication.
    pub fn find_authentication(
        &self,
        intent: &str,
        authentication: &str,
    ) -> Result<&PaymentIntent, ApiError> {
        let is_awaited = |intent: &&PaymentIntent| {
            let awaited = intent.authentication.as_ref();
            awaited.is_some_and(|awaited| awaited.id == authentication)
        };
        let intent = self.intents.get(intent).filter(is_awaited);
        intent.ok_or_else(ApiError::unknown_url)
    }

    /// Charges the payment, or requires the customer to authenticate. Fails when the payment is not open or
    /// the charge is declined.
    fn confirm(
        &self,
        mut intent: PaymentIntent,
        return_url: Option<String>,
        now: Timestamp,
    ) -> Result<CommandOutcome, ApiError> {
        let behaviour = intent
            .payment_method
            .as_deref()
            .and_then(Behaviour::for_payment_method);
        match behaviour.filter(|_| intent.status.is_open()) {
            None => Err(ApiError::unexpected_state("confirm", intent)),
            Some(Behaviour::RequiresAuthentication(_)) => {
                let id = new_id("auth", now);
                intent.status = IntentStatus::RequiresAction;
                intent.last_decline = None;
                intent.authentication = Some(Authentication {
                    page_url: format!("{}/authenticate/{}/{id}", self.public_url, intent.id),
                    id,
                    return_url,
                });
                Ok(CommandOutcome::Intent(intent))
            }
            Some(_) => charge(intent, now),
        }
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
        let is_refund =
            |refund: &Refund| refund.payment_intent == intent.id && refund.status == RefundStatus::Succeeded;
        if self.refunds.values().any(is_refund) {
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
            status: RefundStatus::Succeeded,
            created: now.timestamp(),
        }))
    }
}

/// Charges the method of a payment. Fails when the charge is declined.
fn charge(mut intent: PaymentIntent, now: Timestamp) -> Result<CommandOutcome, ApiError> {
    let method = intent.payment_method.as_deref();
    intent.latest_charge = Some(new_id("ch", now));
    match method.and_then(Behaviour::for_payment_method) {
        Some(Behaviour::Declines(reason) | Behaviour::RequiresAuthentication(Some(reason))) => {
            Err(ApiError::card_declined(reason, decline(intent, reason)))
        }
        _ => {
            intent.status = IntentStatus::Succeeded;
            intent.last_decline = None;
            intent.authentication = None;
            intent.canceled_at = None;
            Ok(CommandOutcome::Intent(intent))
        }
    }
}

/// The payment after a failed attempt: it needs another payment method.
fn decline(intent: PaymentIntent, reason: Decline) -> PaymentIntent {
    PaymentIntent {
        status: IntentStatus::RequiresPaymentMethod,
        payment_method: None,
        last_decline: Some(reason),
        authentication: None,
        ..intent
    }
}

fn new_id(prefix: &str, now: Timestamp) -> String {
    format!("{prefix}_{}", uuid_v7(now).simple())
}
