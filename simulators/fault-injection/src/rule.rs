//! What can be made to go wrong.

use serde::{Deserialize, Serialize};

/// A fault that stands until it is lifted or used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Where, and what.
    pub at: Target,
    /// Only what contains this text is hit: an order's id, a customer's, a product's. Of a request the path,
    /// the idempotency key and the body are looked at, of an invocation the event.
    #[serde(default)]
    pub mentioning: Option<String>,
    /// Only a random share is hit.
    #[serde(default)]
    pub share: Option<Sampling>,
    /// How often it hits before it is used up; without it, it lasts.
    #[serde(default)]
    pub times: Option<u64>,
}

/// The place of a fault, and its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// Invocations of a function; of every function where none is named.
    Function {
        /// The function's name.
        #[serde(default)]
        function: Option<String>,
        /// What becomes of the invocation.
        fault: FunctionFault,
    },
    /// Requests on their way to a program.
    Network {
        /// Whose requests.
        to: Upstream,
        /// Which, by the name under which they are counted; all of them where none is named.
        #[serde(default)]
        operation: Option<String>,
        /// What becomes of the request.
        fault: NetworkFault,
    },
}

/// What the proxies stand in front of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upstream {
    /// The local AWS, all of its services. Operations are called `DynamoDB.TransactWriteItems`.
    Aws,
    /// stock-service. Operations are called `POST /v1/reservations/{id}/commit`.
    StockService,
    /// The payment provider. Operations are called as those of stock-service.
    PaymentProvider,
    /// PostgreSQL. Its operations are `connect`, and `message` for whatever a client sends at once.
    Postgres,
}

/// What becomes of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionFault {
    /// The platform fails, and the function never sees the event.
    ErrorBefore,
    /// The function has done its work, and the platform loses the answer.
    ErrorAfter,
    /// What is reported after a time-out, at once and before the function saw the event.
    TimeoutBefore,
    /// What is reported after a time-out, at once and after the function has done its work.
    TimeoutAfter,
    /// The function never sees the event, and the platform waits for it until it really times out.
    HangBefore,
    /// The function has done its work, and the platform waits for its answer until it really times out.
    HangAfter,
    /// The platform refuses, because too many invocations run.
    Throttle,
    /// Two processes are handed the event at the same moment; the second one's answer counts.
    DuplicateConcurrent,
    /// The function is handed the event again after its answer; the second answer counts.
    DuplicateSequential,
    /// The process is killed before it saw the event.
    CrashBefore,
    /// The process is killed so many milliseconds after it was handed the event, unless it answers sooner.
    CrashDuring(u64),
    /// The process is killed after it has done its work and before its answer leaves.
    CrashAfter,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkFault {
    /// Answered with 503; a connection to PostgreSQL is closed before a byte has passed.
    Refuse,
    /// The connection is cut before the request has passed.
    Disconnect,
    /// The request passes so many milliseconds later.
    Delay(u64),
    /// The request passes and takes effect; then the connection is cut instead of the answer passing.
    DropResponse,
    /// The request passes twice, one after the other, and the second answer passes. PostgreSQL's are not repeated.
    Duplicate,
}

/// A part of what a rule could hit, drawn from a seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The probability of a hit, from 0 to 1.
    pub probability: f64,
    /// What the draws follow from.
    pub seed: u64,
}

/// The number of a rule that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub u64);

impl Rule {
    /// A rule for invocations of a function.
    #[must_use]
    pub fn for_function(function: &str, fault: FunctionFault) -> Self {
        Self::new(Target::Function {
            function: Some(function.to_owned()),
            fault,
        })
    }

    /// A rule for invocations of all functions.
    #[must_use]
    pub fn for_all_functions(fault: FunctionFault) -> Self {
        Self::new(Target::Function {
            function: None,
            fault,
        })
    }

    /// A rule for requests of one kind.
    #[must_use]
    pub fn for_operation(to: Upstream, operation: &str, fault: NetworkFault) -> Self {
        Self::new(Target::Network {
            to,
            operation: Some(operation.to_owned()),
            fault,
        })
    }

    /// A rule for all requests to a program.
    #[must_use]
    pub fn for_all_requests(to: Upstream, fault: NetworkFault) -> Self {
        Self::new(Target::Network {
            to,
            operation: None,
            fault,
        })
    }

    fn new(at: Target) -> Self {
        Self {
            at,
            mentioning: None,
            share: None,
            times: None,
        }
    }

    /// The same for what contains the text, an order's id for example.
    #[must_use]
    pub fn containing(mut self, text: impl ToString) -> Self {
        self.mentioning = Some(text.to_string());
        self
    }

    /// The same so many times.
    #[must_use]
    pub fn limit_hits(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// The same for a random share.
    #[must_use]
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.share = Some(Sampling { probability, seed });
        self
    }
}
