//! Executes commands: replays stored responses, rejects concurrent duplicates, injects failures and records
//! outcomes.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Clock, Timestamp};

use crate::{
    api_error::ApiError,
    config::Config,
    events::{EventSender, events_of},
    ledger::{Ledger, LedgerOpenError},
    state::{Command, CommandOutcome, IdempotentRequest, LedgerEntry, ProviderState},
    test_payment_methods::{Behaviour, Operation},
};

/// The payment provider. Clones share one state.
#[derive(Clone, Debug)]
pub struct Provider(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    clock: Clock,
    /// `None` without a webhook endpoint.
    events: Option<EventSender>,
    shared: Mutex<SharedState>,
}

/// The mutable state behind the lock.
#[derive(Debug)]
struct SharedState {
    state: ProviderState,
    ledger: Ledger,
    /// The idempotency keys of requests in progress.
    in_flight_keys: HashSet<String>,
    /// Time of the first attempt that a payment method's failure mode concerns, by payment. The ledger does
    /// not contain it: failure modes start again after a restart.
    first_attempts: HashMap<String, Timestamp>,
}

/// The response to a command that was executed.
#[derive(Debug)]
pub enum CommandResponse {
    /// The command was executed now.
    New(CommandOutcome),
    /// The stored response to an earlier request with the same idempotency key.
    Replayed(CommandOutcome),
    /// The command was executed, and the connection breaks before the response.
    Dropped,
}

/// How a command is executed, and how the client learns of its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Execution {
    Normal,
    /// After `SLOW_SECONDS`.
    Slow,
    /// The command has no effect, and the response is a 500.
    ErrorBeforeEffect,
    /// The command takes effect, and the response is a 500.
    ErrorAfterEffect,
    /// The command takes effect, and the connection breaks before the response.
    ResponseLost,
}

impl SharedState {
    /// Returns the time of the payment's first attempt, or records `now` and returns `None` when this is the
    /// first one.
    fn find_or_record_first_attempt(
        &mut self,
        request: Option<&IdempotentRequest>,
        command: &Command,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let payment = match command {
            Command::Confirm { intent, .. } | Command::Cancel { intent } | Command::Refund { intent, .. } => {
                intent.clone()
            }
            // The payment has no id yet, so the request's parameters identify it. Requests without an
            // idempotency key share one entry.
            Command::Create { .. }
            | Command::Authenticate { .. }
            | Command::ChargeCancelled(_)
            | Command::FailRefund(_)
            | Command::Dispute(_) => request.map_or_else(String::new, |request| request.fingerprint.clone()),
        };
        match self.first_attempts.entry(payment) {
            Entry::Vacant(entry) => {
                entry.insert(now);
                None
            }
            Entry::Occupied(entry) => Some(*entry.get()),
        }
    }
}

impl Provider {
    /// Opens the ledger in the configured folder and restores the state from it.
    pub fn open(config: Config, clock: Clock) -> Result<Self, LedgerOpenError> {
        let (ledger, state) = Ledger::open(&config.data_dir)?;
        let shared = SharedState {
            state: state.with_public_url(config.public_url.clone()),
            ledger,
            in_flight_keys: HashSet::new(),
            first_attempts: HashMap::new(),
        };
        let events = config
            .webhook
            .clone()
            .map(|endpoint| EventSender::new(endpoint, clock.clone()));
        Ok(Self(Arc::new(Inner {
            events,
            config,
            clock,
            shared: Mutex::new(shared),
        })))
    }

    pub fn with_state<T>(&self, read: impl FnOnce(&ProviderState) -> T) -> T {
        read(&self.lock().state)
    }

    /// Executes a command at most once per idempotency key. An `Err` means that the command was not executed,
    /// and nothing is stored: the client may retry it under the same key. A rejection that belongs to the
    /// command, such as a declined card, is an `Ok` outcome, and so is an injected 500.
    pub async fn execute(
        &self,
        request: Option<IdempotentRequest>,
        command: Command,
    ) -> Result<CommandResponse, ApiError> {
        let provider = self.clone();
        // A separate task, because the command must complete when the client disconnects.
        let task = tokio::spawn(async move { provider.execute_once(request, command).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the task of a request panicked");
            Err(ApiError::internal_error())
        })
    }

    async fn execute_once(
        &self,
        request: Option<IdempotentRequest>,
        command: Command,
    ) -> Result<CommandResponse, ApiError> {
        let _in_flight = match request
            .as_ref()
            .map(|request| self.claim_key(request))
            .transpose()?
        {
            Some(KeyClaim::Completed(outcome)) => return Ok(CommandResponse::Replayed(*outcome)),
            Some(KeyClaim::Claimed(in_flight)) => Some(in_flight),
            None => None,
        };
        let execution = self.choose_execution(request.as_ref(), &command)?;
        if execution == Execution::Slow {
            tokio::time::sleep(self.0.config.slow_duration).await;
        }
        let response = self.decide_and_record(request, command, execution)?;
        Ok(match (execution, response) {
            (Execution::ResponseLost, CommandOutcome::Intent(_)) => CommandResponse::Dropped,
            (_, response) => CommandResponse::New(response),
        })
    }

    /// Returns the stored response of the key, or marks the key as in progress.
    fn claim_key(&self, request: &IdempotentRequest) -> Result<KeyClaim, ApiError> {
        let mut shared = self.lock();
        if let Some(stored) = shared.state.find_response(request) {
            return stored.map(|response| KeyClaim::Completed(response.into()));
        }
        if !shared.in_flight_keys.insert(request.key.clone()) {
            return Err(ApiError::idempotency_key_in_use());
        }
        Ok(KeyClaim::Claimed(InFlightGuard {
            provider: self.clone(),
            key: request.key.clone(),
        }))
    }

    /// Chooses the execution by the payment's behaviour. Fails when the provider is unavailable for the
    /// payment.
    fn choose_execution(
        &self,
        request: Option<&IdempotentRequest>,
        command: &Command,
    ) -> Result<Execution, ApiError> {
        let now = self.0.clock.now();
        let mut shared = self.lock();
        let Some(behaviour) = shared.state.behaviour(command) else {
            return Ok(Execution::Normal);
        };
        let Some(operation) = command.operation() else {
            return Ok(Execution::Normal);
        };
        let mut first_attempt = || shared.find_or_record_first_attempt(request, command, now);
        Ok(match behaviour {
            Behaviour::ErrorBefore(failing) if failing == operation => match first_attempt() {
                None => Execution::ErrorBeforeEffect,
                Some(_) => Execution::Normal,
            },
            Behaviour::ErrorAfter(failing) if failing == operation => match first_attempt() {
                None => Execution::ErrorAfterEffect,
                Some(_) => Execution::Normal,
            },
            _ if operation != Operation::Charge => Execution::Normal,
            // A payment is cancelled because it could not be charged.
            Behaviour::AlwaysFails
            | Behaviour::ChargedAfterCancel
            | Behaviour::ErrorBefore(Operation::Cancel)
            | Behaviour::ErrorAfter(Operation::Cancel) => Execution::ErrorBeforeEffect,
            Behaviour::Unavailable => {
                let is_available_again = first_attempt().is_some_and(|first| {
                    let elapsed = (now - first).to_std();
                    elapsed.is_ok_and(|elapsed| elapsed >= self.0.config.unavailable_duration)
                });
                if !is_available_again {
                    return Err(ApiError::unavailable());
                }
                Execution::Normal
            }
            Behaviour::Slow => Execution::Slow,
            Behaviour::ResponseLost => Execution::ResponseLost,
            Behaviour::Succeeds
            | Behaviour::RefundFails
            | Behaviour::Disputed
            | Behaviour::Declines(_)
            | Behaviour::RequiresAuthentication(_)
            | Behaviour::ErrorBefore(_)
            | Behaviour::ErrorAfter(_) => Execution::Normal,
        })
    }

    /// Decides the command and appends the outcome to the ledger before it is visible to any client. Returns
    /// the response.
    fn decide_and_record(
        &self,
        request: Option<IdempotentRequest>,
        command: Command,
        execution: Execution,
    ) -> Result<CommandOutcome, ApiError> {
        let mut shared = self.lock();
        let outcome = match execution {
            Execution::ErrorBeforeEffect => CommandOutcome::Rejected(ApiError::internal_error()),
            _ => shared.state.decide(command, self.0.clock.now()),
        };
        let entry = LedgerEntry {
            request,
            outcome,
            is_hidden_by_error: execution == Execution::ErrorAfterEffect,
        };
        if let Err(error) = shared.ledger.append(&entry) {
            tracing::error!(%error, "cannot write the ledger");
            return Err(ApiError::internal_error());
        }
        log_outcome(&entry.outcome);
        if let Some(events) = &self.0.events {
            for (kind, object) in events_of(&entry.outcome) {
                events.send(kind, &object);
            }
        }
        let response = entry.response();
        let bank_command = shared.state.bank_command(&entry.outcome);
        shared.state.apply(entry);
        drop(shared);
        if let Some(command) = bank_command {
            self.execute_later(command);
        }
        Ok(response)
    }

    /// Executes a command of the customer's bank after `SLOW_SECONDS`. It is lost when the process ends
    /// before.
    fn execute_later(&self, command: Command) {
        let provider = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(provider.0.config.slow_duration).await;
            // A failure was logged.
            let _ = provider.decide_and_record(None, command, Execution::Normal);
        });
    }

    /// A poisoned lock stays usable, because only [`ProviderState::apply`] changes the state.
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_outcome(outcome: &CommandOutcome) {
    match outcome {
        CommandOutcome::Intent(intent) => {
            tracing::info!(
                payment.id = intent.id,
                amount = intent.amount,
                "payment {}",
                intent.status
            );
        }
        CommandOutcome::Refund(refund) => {
            tracing::info!(
                payment.id = refund.payment_intent,
                amount = refund.amount,
                "refund {:?}",
                refund.status
            );
        }
        CommandOutcome::Dispute(dispute) => {
            tracing::info!(payment.id = dispute.payment_intent, "payment disputed");
        }
        CommandOutcome::Rejected(error) => {
            let payment_id = error.intent.as_ref().map(|intent| intent.id.as_str());
            tracing::info!(payment.id = payment_id, "request rejected: {}", error.message);
        }
    }
}

/// The result of claiming an idempotency key.
enum KeyClaim {
    Completed(Box<CommandOutcome>),
    Claimed(InFlightGuard),
}

/// A key in progress. Dropping the guard releases the key.
struct InFlightGuard {
    provider: Provider,
    key: String,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.provider.lock().in_flight_keys.remove(&self.key);
    }
}
