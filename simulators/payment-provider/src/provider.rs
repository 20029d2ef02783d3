//! The provider at work: who is answered again, who waits, who meets trouble, and who gets a decision.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Clock, Timestamp};

use crate::{
    books::{self, Answer, Books, Command, KeyedRequest},
    config::Config,
    ledger::{Ledger, OpenError},
    methods::Behaviour,
    refusal::Refusal,
};

/// The provider. Clones share one set of books.
#[derive(Clone, Debug)]
pub struct Provider(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    clock: Clock,
    desk: Mutex<Desk>,
}

/// What one request at a time may look at and change.
#[derive(Debug)]
struct Desk {
    books: Books,
    ledger: Ledger,
    /// The idempotency keys of requests under way.
    in_flight: HashSet<String>,
    /// When a payment was first attempted. It is not in the ledger: after a restart troubles begin anew.
    first_attempts: HashMap<String, Timestamp>,
}

/// What a caller gets for a command that was carried out.
#[derive(Debug)]
pub enum Reply {
    /// An answer, given for the first time.
    New(Answer),
    /// An answer that was given before.
    Replayed(Answer),
    /// The answer gets lost on its way.
    Lost,
}

impl Provider {
    /// Opens the ledger in the configured folder and goes on from where it ends.
    pub fn open(config: Config, clock: Clock) -> Result<Self, OpenError> {
        let (ledger, books) = Ledger::open(&config.data_dir)?;
        let desk = Desk {
            books,
            ledger,
            in_flight: HashSet::new(),
            first_attempts: HashMap::new(),
        };
        Ok(Self(Arc::new(Inner {
            config,
            clock,
            desk: Mutex::new(desk),
        })))
    }

    /// Lets `read` look at the books.
    pub fn read<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.desk().books)
    }

    /// Carries out a command, once per idempotency key. A refusal as error, other than one that is the answer,
    /// says that it was not carried out and may be tried again.
    pub async fn execute(&self, request: Option<KeyedRequest>, command: Command) -> Result<Reply, Refusal> {
        let provider = self.clone();
        // A task of its own: what was begun is brought to its end whether or not the caller waits for it.
        let task = tokio::spawn(async move { provider.carry_out(request, command).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request's task died");
            Err(Refusal::broken())
        })
    }

    async fn carry_out(&self, request: Option<KeyedRequest>, command: Command) -> Result<Reply, Refusal> {
        let _in_flight = match request.as_ref().map(|request| self.begin(request)).transpose()? {
            Some(Begun::Before(answer)) => return Ok(Reply::Replayed(answer)),
            Some(Begun::Now(in_flight)) => Some(in_flight),
            None => None,
        };
        let behaviour = self.meet_trouble(request.as_ref(), &command)?;
        if behaviour == Some(Behaviour::Slow) {
            tokio::time::sleep(self.0.config.slow).await;
        }
        let answer = self.decide(request, command)?;
        Ok(match (behaviour, answer) {
            (Some(Behaviour::ErrorAfterEffect), Answer::Intent(_)) => Reply::Lost,
            (_, answer) => Reply::New(answer),
        })
    }

    /// Marks a key as in flight, unless it was used before.
    fn begin(&self, request: &KeyedRequest) -> Result<Begun, Refusal> {
        let mut desk = self.desk();
        if let Some(answered) = desk.books.answered(request) {
            return answered.map(Begun::Before);
        }
        if !desk.in_flight.insert(request.key.clone()) {
            return Err(Refusal::key_in_use());
        }
        Ok(Begun::Now(InFlight {
            provider: self.clone(),
            key: request.key.clone(),
        }))
    }

    /// The behaviour of the method that `command` charges; an error if that is to fail before its effect.
    fn meet_trouble(
        &self,
        request: Option<&KeyedRequest>,
        command: &Command,
    ) -> Result<Option<Behaviour>, Refusal> {
        let now = self.0.clock.now();
        let mut desk = self.desk();
        let Some(behaviour) = desk.books.charges(command) else {
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
            .is_ok_and(|passed| passed >= self.0.config.unavailable);
        match behaviour {
            Behaviour::Broken => Err(Refusal::broken()),
            Behaviour::ErrorBeforeEffect if is_first => Err(Refusal::broken()),
            Behaviour::Unavailable if !is_over => Err(Refusal::unavailable()),
            behaviour => Ok(Some(behaviour)),
        }
    }

    /// Decides, and writes the answer down before anybody hears it.
    fn decide(&self, request: Option<KeyedRequest>, command: Command) -> Result<Answer, Refusal> {
        let mut desk = self.desk();
        let answer = desk.books.decide(command, self.0.clock.now());
        let entry = books::Entry {
            request,
            answer: answer.clone(),
        };
        if let Err(error) = desk.ledger.append(&entry) {
            tracing::error!(%error, "the ledger could not be written");
            return Err(Refusal::broken());
        }
        desk.books.record(entry);
        log(&answer);
        Ok(answer)
    }

    /// The desk stays usable if somebody panicked at it: the books change in [`Books::record`] alone.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(answer: &Answer) {
    match answer {
        Answer::Intent(intent) => {
            tracing::info!(
                payment.id = intent.id,
                amount = intent.amount,
                "the payment is {}",
                intent.status
            );
        }
        Answer::Refund(refund) => {
            tracing::info!(
                payment.id = refund.payment_intent,
                amount = refund.amount,
                "the payment is refunded"
            );
        }
        Answer::Refused(refusal) => {
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
enum Begun {
    Before(Answer),
    Now(InFlight),
}

/// A key under way; dropping it ends that.
struct InFlight {
    provider: Provider,
    key: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.provider.desk().in_flight.remove(&self.key);
    }
}
