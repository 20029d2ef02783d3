//! Rules: which fault is injected, into which function or connection, how often and with which probability.

use serde::{Deserialize, Serialize};

/// Injects one fault until it is removed or has reached its maximum number of hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub target: Target,
    /// Restricts the rule to requests and invocations that contain all these texts, for example the id of an
    /// order, a customer or a product. Requests are searched in path, idempotency key and body, invocations
    /// in the event.
    #[serde(default)]
    pub containing: Vec<String>,
    /// Restricts the rule to a random sample.
    #[serde(default)]
    pub sampling: Option<Sampling>,
    /// After this many hits the rule no longer applies. `None` means unlimited.
    #[serde(default)]
    pub max_hits: Option<u64>,
}

/// Where a fault is injected, and which fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// Invocations of one function, or of every function when `function` is `None`.
    Function {
        #[serde(default)]
        function: Option<String>,
        fault: FunctionFault,
    },
    /// Requests to one upstream.
    Network {
        upstream: Upstream,
        /// The operation as [`OperationCounts`](crate::OperationCounts) names it, or every operation when
        /// `None`.
        #[serde(default)]
        operation: Option<String>,
        fault: NetworkFault,
    },
}

/// A server behind one of the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upstream {
    /// All services of the local AWS. Operation names look like `DynamoDB.TransactWriteItems`.
    Aws,
    /// Operation names look like `POST /v1/reservations/{id}/commit`.
    StockService,
    /// Operation names look like those of stock-service.
    PaymentProvider,
    /// The operations are `connect` and `message`. A message is the data that one read from the client
    /// returns.
    Postgres,
}

/// A fault of one function invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionFault {
    /// The platform reports an error, and the function never receives the event.
    ErrorBefore,
    /// The function completes, and the platform reports an error instead of its result.
    ErrorAfter,
    /// The platform reports a timeout immediately, and the function never receives the event.
    TimeoutBefore,
    /// The function completes, and the platform reports a timeout immediately instead of its result.
    TimeoutAfter,
    /// The function never receives the event, and the platform waits until its real timeout expires.
    HangBefore,
    /// The function completes, and the platform waits for its result until the real timeout expires.
    HangAfter,
    /// The platform rejects the invocation because of too many concurrent ones.
    Throttle,
    /// Two processes receive the event at the same time. The result of the second one is reported.
    DuplicateConcurrent,
    /// The function receives the event a second time after its first result. The second result is reported.
    DuplicateSequential,
    /// The process is killed before it receives the event.
    CrashBefore,
    /// The process is killed this many milliseconds after it received the event, or as soon as it responds.
    CrashDuring(u64),
    /// The process is killed after it completed its work and before its result is reported.
    CrashAfter,
}

/// A fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkFault {
    /// The proxy responds with 503. It closes a PostgreSQL connection before it forwards any byte.
    Refuse,
    /// The proxy closes the connection before it forwards the request.
    Disconnect,
    /// The proxy forwards the request after this many milliseconds.
    Delay(u64),
    /// The request takes effect, and the proxy closes the connection instead of forwarding the response.
    DropResponse,
    /// The proxy sends the request twice in sequence and forwards the second response. PostgreSQL messages
    /// are not duplicated.
    Duplicate,
}

/// A random sample of everything that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The probability of a hit, from 0 to 1.
    pub probability: f64,
    /// The seed of the random generator. Equal seeds give equal sequences of draws.
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub u64);

impl Rule {
    /// Creates a rule for the invocations of one function.
    #[must_use]
    pub fn for_function(function: &str, fault: FunctionFault) -> Self {
        Self::new(Target::Function {
            function: Some(function.to_owned()),
            fault,
        })
    }

    /// Creates a rule for the invocations of all functions.
    #[must_use]
    pub fn for_all_functions(fault: FunctionFault) -> Self {
        Self::new(Target::Function {
            function: None,
            fault,
        })
    }

    /// Creates a rule for the requests of one operation.
    #[must_use]
    pub fn for_operation(upstream: Upstream, operation: &str, fault: NetworkFault) -> Self {
        Self::new(Target::Network {
            upstream,
            operation: Some(operation.to_owned()),
            fault,
        })
    }

    /// Creates a rule for all requests to an upstream.
    #[must_use]
    pub fn for_all_requests(upstream: Upstream, fault: NetworkFault) -> Self {
        Self::new(Target::Network {
            upstream,
            operation: None,
            fault,
        })
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            containing: Vec::new(),
            sampling: None,
            max_hits: None,
        }
    }

    /// Restricts the rule to requests and invocations that also contain this text, for example an order id.
    #[must_use]
    pub fn containing(mut self, text: impl ToString) -> Self {
        self.containing.push(text.to_string());
        self
    }

    /// Restricts the rule to this many hits.
    #[must_use]
    pub fn limit_hits(mut self, max_hits: u64) -> Self {
        self.max_hits = Some(max_hits);
        self
    }

    /// Restricts the rule to a random sample. `probability` ranges from 0 to 1.
    #[must_use]
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.sampling = Some(Sampling { probability, seed });
        self
    }
}
