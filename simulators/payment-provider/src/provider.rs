//! Executes commands: replays stored outcomes, rejects concurrent duplicates, injects failures and records
//! outcomes.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Clock, Timestamp};

use crate::{
    api_error::ApiError,
    config::Config,
    ledger::{Ledger, LedgerOpenError},
    state::{self, Command, CommandOutcome, IdempotentRequest, ProviderState},
    test_payment_methods::Behaviour,
};

/// The payment provider. Clones share one state.
#[derive(Clone, Debug)]
pub struct Provider(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    clock: Clock,
    shared: Mutex<SharedState>,
}

/// The mutable state behind the lock.
#[derive(Debug)]
struct SharedState {
    state: ProviderState,
    ledger: Ledger,
    /// The idempotency keys of requests in progress.
    in_flight_keys: HashSet<String>,
    /// Time of the first charge attempt, by payment. The ledger does not contain it: failure modes start
    /// again after a restart.
    first_attempts: HashMap<String, Timestamp>,
}

/// The response to a command that was executed.
#[derive(Debug)]
pub enum CommandResponse {
    /// The command was executed now.
    New(CommandOutcome),
    /// The stored outcome of an earlier request with the same idempotency key.
    Replayed(CommandOutcome),
    /// The command was executed, and the connection breaks before the response.
    Dropped,
}

impl Provider {
    /// Opens the ledger in the configured folder and restores the state from it.
    pub fn open(config: Config, clock: Clock) -> Result<Self, LedgerOpenError> {
        let (ledger, state) = Ledger::open(&config.data_dir)?;
        let shared = SharedState {
            state,
            ledger,
            in_flight_keys: HashSet::new(),
            first_attempts: HashMap::new(),
        };
        Ok(Self(Arc::new(Inner {
            config,
            clock,
            shared: Mutex::new(shared),
        })))
    }

    pub fn with_state<T>(&self, read: impl FnOnce(&ProviderState) -> T) -> T {
        read(&self.lock().state)
    }

    /// Executes a command at most once per idempotency key. An `Err` means that the command was not executed:
    /// the client may retry it. A rejection that belongs to the command, such as a declined card, is an `Ok`
    /// outcome.
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
            Some(KeyClaim::Completed(outcome)) => return Ok(CommandResponse::Replayed(outcome)),
            Some(KeyClaim::Claimed(in_flight)) => Some(in_flight),
            None => None,
        };
        let behaviour = self.apply_behaviour(request.as_ref(), &command)?;
        if behaviour == Some(Behaviour::Slow) {
            tokio::time::sleep(self.0.config.slow_duration).await;
        }
        let outcome = self.decide_and_record(request, command)?;
        Ok(match (behaviour, outcome) {
            (Some(Behaviour::ErrorAfterEffect), CommandOutcome::Intent(_)) => CommandResponse::Dropped,
            (_, outcome) => CommandResponse::New(outcome),
        })
    }

    /// Returns the stored outcome of the key, or marks the key as in progress.
    fn claim_key(&self, request: &IdempotentRequest) -> Result<KeyClaim, ApiError> {
        let mut shared = self.lock();
        if let Some(stored) = shared.state.find_outcome(request) {
            return stored.map(KeyClaim::Completed);
        }
        if !shared.in_flight_keys.insert(request.key.clone()) {
            return Err(ApiError::idempotency_key_in_use());
        }
        Ok(KeyClaim::Claimed(InFlightGuard {
            provider: self.clone(),
            key: request.key.clone(),
        }))
    }

    /// Returns the behaviour of the payment method that `command` charges. Fails when that behaviour is to
    /// fail before the charge.
    fn apply_behaviour(
        &self,
        request: Option<&IdempotentRequest>,
        command: &Command,
    ) -> Result<Option<Behaviour>, ApiError> {
        let now = self.0.clock.now();
        let mut shared = self.lock();
        let Some(behaviour) = shared.state.charge_behaviour(command) else {
            return Ok(None);
        };
        // A payment that is created and charged in one request has no id yet, so its idempotency key
        // identifies it. Requests without a key share one entry.
        let payment = match (command, request) {
            (Command::Confirm { intent, .. }, _) => intent.clone(),
            (_, Some(request)) => request.key.clone(),
            _ => String::new(),
        };
        let (is_first_attempt, first_attempt_at) = match shared.first_attempts.entry(payment) {
            Entry::Vacant(entry) => (true, *entry.insert(now)),
            Entry::Occupied(entry) => (false, *entry.get()),
        };
        let is_available_again = (now - first_attempt_at)
            .to_std()
            .is_ok_and(|elapsed| elapsed >= self.0.config.unavailable_duration);
        match behaviour {
            Behaviour::AlwaysFails => Err(ApiError::internal_error()),
            Behaviour::ErrorBeforeEffect if is_first_attempt => Err(ApiError::internal_error()),
            Behaviour::Unavailable if !is_available_again => Err(ApiError::unavailable()),
            behaviour => Ok(Some(behaviour)),
        }
    }

    /// Decides the command and appends the outcome to the ledger before it is visible to any client.
    fn decide_and_record(
        &self,
        request: Option<IdempotentRequest>,
        command: Command,
    ) -> Result<CommandOutcome, ApiError> {
        let mut shared = self.lock();
        let outcome = shared.state.decide(command, self.0.clock.now());
        let entry = state::LedgerEntry {
            request,
            outcome: outcome.clone(),
        };
        if let Err(error) = shared.ledger.append(&entry) {
            tracing::error!(%error, "cannot write the ledger");
            return Err(ApiError::internal_error());
        }
        shared.state.apply(entry);
        log_outcome(&outcome);
        Ok(outcome)
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
                "payment refunded"
            );
        }
        CommandOutcome::Rejected(error) => {
            let payment_id = error.intent.as_ref().map(|intent| intent.id.as_str());
            tracing::info!(payment.id = payment_id, "request rejected: {}", error.message);
        }
    }
}

/// The result of claiming an idempotency key.
enum KeyClaim {
    Completed(CommandOutcome),
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
