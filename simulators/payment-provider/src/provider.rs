//! The provider at work: who is answered again, who waits, who meets trouble, and who gets a decision.

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

/// The provider. Clones share one set of books.
#[derive(Clone, Debug)]
pub struct Provider(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    clock: Clock,
    shared: Mutex<SharedState>,
}

/// What one request at a time may look at and change.
#[derive(Debug)]
struct SharedState {
    state: ProviderState,
    ledger: Ledger,
    /// The idempotency keys of requests under way.
    in_flight_keys: HashSet<String>,
    /// When a payment was first attempted. It is not in the ledger: after a restart troubles begin anew.
    first_attempts: HashMap<String, Timestamp>,
}

/// What a caller gets for a command that was carried out.
#[derive(Debug)]
pub enum CommandResponse {
    /// An answer, given for the first time.
    New(CommandOutcome),
    /// An answer that was given before.
    Replayed(CommandOutcome),
    /// The answer gets lost on its way.
    Dropped,
}

impl Provider {
    /// Opens the ledger in the configured folder and goes on from where it ends.
    pub fn open(config: Config, clock: Clock) -> Result<Self, LedgerOpenError> {
        let (ledger, books) = Ledger::open(&config.data_dir)?;
        let desk = SharedState {
            state: books,
            ledger,
            in_flight_keys: HashSet::new(),
            first_attempts: HashMap::new(),
        };
        Ok(Self(Arc::new(Inner {
            config,
            clock,
            shared: Mutex::new(desk),
        })))
    }

    /// Lets `read` look at the books.
    pub fn with_state<T>(&self, read: impl FnOnce(&ProviderState) -> T) -> T {
        read(&self.lock().state)
    }

    /// Carries out a command, once per idempotency key. A refusal as error, other than one that is the answer,
    /// says that it was not carried out and may be tried again.
    pub async fn execute(
        &self,
        request: Option<IdempotentRequest>,
        command: Command,
    ) -> Result<CommandResponse, ApiError> {
        let provider = self.clone();
        // A task of its own: what was begun is brought to its end whether or not the caller waits for it.
        let task = tokio::spawn(async move { provider.execute_once(request, command).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request's task died");
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
            Some(KeyClaim::Completed(answer)) => return Ok(CommandResponse::Replayed(answer)),
            Some(KeyClaim::Claimed(in_flight)) => Some(in_flight),
            None => None,
        };
        let behaviour = self.apply_behaviour(request.as_ref(), &command)?;
        if behaviour == Some(Behaviour::Slow) {
            tokio::time::sleep(self.0.config.slow_duration).await;
        }
        let answer = self.decide_and_record(request, command)?;
        Ok(match (behaviour, answer) {
            (Some(Behaviour::ErrorAfterEffect), CommandOutcome::Intent(_)) => CommandResponse::Dropped,
            (_, answer) => CommandResponse::New(answer),
        })
    }

    /// Marks a key as in flight, unless it was used before.
    fn claim_key(&self, request: &IdempotentRequest) -> Result<KeyClaim, ApiError> {
        let mut desk = self.lock();
        if let Some(answered) = desk.state.find_outcome(request) {
            return answered.map(KeyClaim::Completed);
        }
        if !desk.in_flight_keys.insert(request.key.clone()) {
            return Err(ApiError::idempotency_key_in_use());
        }
        Ok(KeyClaim::Claimed(InFlightGuard {
            provider: self.clone(),
            key: request.key.clone(),
        }))
    }

    /// The behaviour of the method that `command` charges; an error if that is to fail before its effect.
    fn apply_behaviour(
        &self,
        request: Option<&IdempotentRequest>,
        command: &Command,
    ) -> Result<Option<Behaviour>, ApiError> {
        let now = self.0.clock.now();
        let mut desk = self.lock();
        let Some(behaviour) = desk.state.charge_behaviour(command) else {
            return Ok(None);
        };
        // A payment that is made and charged in one request has no id yet; its key stands for it.
        let payment = match (command, request) {
            (Command::Confirm { intent, .. }, _) => intent.clone(),
            (_, Some(request)) => request.key.clone(),
            _ => String::new(),
        };
        let (is_first, since) = match desk.first_attempts.entry(payment) {
            Entry::Vacant(entry) => (true, *entry.insert(now)),
            Entry::Occupied(entry) => (false, *entry.get()),
        };
        let is_over = (now - since)
            .to_std()
            .is_ok_and(|passed| passed >= self.0.config.unavailable_duration);
        match behaviour {
            Behaviour::AlwaysFails => Err(ApiError::internal_error()),
            Behaviour::ErrorBeforeEffect if is_first => Err(ApiError::internal_error()),
            Behaviour::Unavailable if !is_over => Err(ApiError::unavailable()),
            behaviour => Ok(Some(behaviour)),
        }
    }

    /// Decides, and writes the answer down before anybody hears it.
    fn decide_and_record(
        &self,
        request: Option<IdempotentRequest>,
        command: Command,
    ) -> Result<CommandOutcome, ApiError> {
        let mut desk = self.lock();
        let answer = desk.state.decide(command, self.0.clock.now());
        let entry = state::LedgerEntry {
            request,
            answer: answer.clone(),
        };
        if let Err(error) = desk.ledger.append(&entry) {
            tracing::error!(%error, "the ledger could not be written");
            return Err(ApiError::internal_error());
        }
        desk.state.apply(entry);
        log_outcome(&answer);
        Ok(answer)
    }

    /// The desk stays usable if somebody panicked at it: the books change in [`Books::record`] alone.
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_outcome(answer: &CommandOutcome) {
    match answer {
        CommandOutcome::Intent(intent) => {
            tracing::info!(
                payment.id = intent.id,
                amount = intent.amount,
                "the payment is {}",
                intent.status
            );
        }
        CommandOutcome::Refund(refund) => {
            tracing::info!(
                payment.id = refund.payment_intent,
                amount = refund.amount,
                "the payment is refunded"
            );
        }
        CommandOutcome::Refused(refusal) => {
            let payment = refusal.intent.as_ref().map(|intent| intent.id.as_str());
            tracing::info!(
                payment.id = payment,
                "the request is refused: {}",
                refusal.message
            );
        }
    }
}

/// When a request with a key was begun.
enum KeyClaim {
    Completed(CommandOutcome),
    Claimed(InFlightGuard),
}

/// A key under way; dropping it ends that.
struct InFlightGuard {
    provider: Provider,
    key: String,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.provider.lock().in_flight_keys.remove(&self.key);
    }
}
