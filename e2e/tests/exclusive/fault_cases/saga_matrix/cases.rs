//! The cases of the saga matrix: every task state of the state machine's definition under every function
//! fault, and every request between services under every network fault.

use fault_injection::{FunctionFault, NetworkFault, Rule, Upstream};
use serde_json::Value;

use super::batch_cases::{BatchEffect, Consumer};

/// The deployed definition of the order saga.
pub const DEFINITION: &str = include_str!("../../../../../step-functions/order-saga.asl.json");

/// The faults that a step must survive once. A step takes 20 to 60 ms, so `CrashDuring(20)` interrupts it.
pub const FAULTS: [(&str, FunctionFault); 11] = [
    ("failure before its effect", FunctionFault::ErrorBefore),
    ("failure after its effect", FunctionFault::ErrorAfter),
    ("timeout before its effect", FunctionFault::TimeoutBefore),
    ("timeout after its effect", FunctionFault::TimeoutAfter),
    ("response after the caller's timeout", FunctionFault::HangAfter),
    ("throttle", FunctionFault::Throttle),
    (
        "concurrent duplicate delivery",
        FunctionFault::DuplicateConcurrent,
    ),
    (
        "sequential duplicate delivery",
        FunctionFault::DuplicateSequential,
    ),
    ("crash before its effect", FunctionFault::CrashBefore),
    ("crash during its effect", FunctionFault::CrashDuring(20)),
    ("crash after its effect", FunctionFault::CrashAfter),
];

/// The faults that a request must survive once. `Delay` is longer than any client's timeout.
pub const NETWORK_FAULTS: [(&str, NetworkFault); 5] = [
    ("refused", NetworkFault::Refuse),
    ("disconnected", NetworkFault::Disconnect),
    ("delayed", NetworkFault::Delay(12_000)),
    ("response dropped", NetworkFault::DropResponse),
    ("duplicated", NetworkFault::Duplicate),
];

/// An order and its fault.
#[derive(Clone, Debug)]
pub struct Case {
    /// The state or request, and the fault.
    pub name: String,
    pub scenario: Scenario,
    /// The fault under test, before its restriction to one order. `None` when the payment provider injects
    /// it, because of the scenario's payment method.
    pub rule: Option<Rule>,
    /// How often the rule hits; `None` for a permanent fault.
    pub times: Option<u64>,
    pub expected_outcome: ExpectedOutcome,
    /// The function whose batch of messages the fault hits, and what it does to the other messages in the
    /// batch.
    pub batch: Option<(Consumer, BatchEffect)>,
    /// When the rule under test is added.
    pub timing: RuleTiming,
}

/// When the rule of a fault is added, and the id to which it is restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleTiming {
    /// Before the order is placed, for its customer.
    BeforeTheOrder,
    /// After the order was placed, for the order: requests to stock-service and most requests to the payment
    /// provider do not name the customer.
    AfterTheOrder,
    /// While the order waits for its customer, for the customer.
    WhileWaiting,
    /// While the order waits for its customer, for the payment.
    WhileWaitingForPayment,
}

/// How an order reaches the state or request under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    HappyPath,
    PaymentDeclined,
    /// The customer authenticates the payment (3D Secure).
    AuthenticatedPayment,
    /// The customer cancels the order instead of authenticating the payment.
    CancelledAuthentication,
    InsufficientStock,
    /// A function fails permanently.
    PinnedFailure(&'static str, FunctionFault),
    /// The payment provider fails as the payment method says.
    FailingProvider(&'static str),
    /// As [`PAID_AND_COMMITTED`], and the payment provider fails as the payment method says.
    FailingRefund(&'static str),
}

/// The scenario with the most to compensate: the payment is captured and the stock committed, but the saga
/// does not know it.
const PAID_AND_COMMITTED: Scenario = Scenario::PinnedFailure("update-stock", FunctionFault::ErrorAfter);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    Completed,
    Failed,
    Cancelled,
    /// The order waits for an operator.
    Parked,
}

/// What the tests must know about a state beyond its definition.
#[derive(Debug, PartialEq, Eq)]
enum StateKind {
    /// The state invokes a function.
    Function {
        scenario: Scenario,
        /// The outcomes when the function fails permanently before its effect, and after it.
        permanent_failure_outcomes: [ExpectedOutcome; 2],
    },
    /// Step Functions sends the order to the parking queue itself, so function faults do not apply. Every
    /// compensation that fails permanently leads to this state.
    OrderParking,
}

/// The table of all states. The suite fails when the definition has a state that is missing here.
fn state_kind(state: &str) -> Option<StateKind> {
    use ExpectedOutcome::{Completed, Failed, Parked};
    let function = |scenario, permanent_failure_outcomes| {
        Some(StateKind::Function {
            scenario,
            permanent_failure_outcomes,
        })
    };
    match state {
        "CreatePayment" | "ReserveStock" | "ProcessPayment" | "UpdateStock" => {
            function(Scenario::HappyPath, [Failed, Failed])
        }
        // After its effect, the refund step finds the order completed.
        "CompleteOrder" => function(Scenario::HappyPath, [Failed, Completed]),
        // The outbox relay publishes the event instead.
        "SendNotification" => function(Scenario::HappyPath, [Completed, Completed]),
        "RefundPayment" => function(PAID_AND_COMMITTED, [Parked, Parked]),
        "ReleaseStock" => function(Scenario::PaymentDeclined, [Parked, Parked]),
        "FailOrder" => function(Scenario::InsufficientStock, [Parked, Parked]),
        "ParkOrder" => Some(StateKind::OrderParking),
        _ => None,
    }
}

/// All function cases of a definition, the longest ones first.
///
/// # Errors
/// Lists the states that are missing in the table of [`state_kind`], and the states for which it is wrong.
pub fn state_cases(definition: &str) -> Result<Vec<Case>, Vec<String>> {
    let definition: Value = serde_json::from_str(definition).expect("the definition is JSON");
    let states = definition["States"]
        .as_object()
        .expect("a state machine has states");
    let (mut once, mut permanent, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (name, state) in states.iter().filter(|(_, state)| state["Type"] == "Task") {
        match (state_kind(name), function_name(state)) {
            (
                Some(StateKind::Function {
                    scenario,
                    permanent_failure_outcomes: outcomes,
                }),
                Some(function),
            ) => {
                let is_compensation = outcomes.contains(&ExpectedOutcome::Parked);
                if is_compensation != parks_order(state) {
                    problems.push(format!(
                        "{name}: the definition and the table in state_kind() disagree on parking orders"
                    ));
                }
                let case = |fault_name: &str, fault, times, expected_outcome| Case {
                    name: format!("{name}: {fault_name}"),
                    scenario,
                    rule: Some(Rule::for_function(&function, fault)),
                    times,
                    expected_outcome,
                    batch: None,
                    timing: RuleTiming::BeforeTheOrder,
                };
                let outcome = if is_compensation {
                    ExpectedOutcome::Failed
                } else {
                    ExpectedOutcome::Completed
                };
                once.extend(FAULTS.map(|(fault_name, fault)| case(fault_name, fault, Some(1), outcome)));
                permanent.extend([
                    case(
                        "permanent failure before its effect",
                        FunctionFault::ErrorBefore,
                        None,
                        outcomes[0],
                    ),
                    case(
                        "permanent failure after its effect",
                        FunctionFault::ErrorAfter,
                        None,
                        outcomes[1],
                    ),
                ]);
            }
            (Some(StateKind::OrderParking), None) => {}
            _ => problems.push(format!(
                "{name} has no cases: add it to the table in state_kind()"
            )),
        }
    }
    permanent.sort_by_key(|case| case.expected_outcome != ExpectedOutcome::Parked);
    permanent.extend(once);
    if problems.is_empty() {
        Ok(permanent)
    } else {
        Err(problems)
    }
}

/// The name of the function that a state invokes; `None` when it invokes none.
fn function_name(state: &Value) -> Option<String> {
    let resource = state["Resource"].as_str()?;
    let name = resource.strip_prefix("${")?.strip_suffix("Function}")?;
    let mut kebab = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(character.to_lowercase());
    }
    Some(kebab)
}

/// Whether a permanent failure of the state parks the order.
fn parks_order(state: &Value) -> bool {
    let catchers = state["Catch"].as_array().into_iter().flatten();
    catchers
        .filter(|catcher| catcher["ErrorEquals"][0] == "States.ALL")
        .any(|catcher| catcher["Next"] == "ParkOrder")
}

/// Every request between services that names an order or its customer, with the scenario that leads to it.
const REQUESTS: [(Scenario, Upstream, &str); 11] = [
    (Scenario::HappyPath, Upstream::Aws, "DynamoDB.TransactWriteItems"),
    (Scenario::HappyPath, Upstream::Aws, "DynamoDB.GetItem"),
    (Scenario::HappyPath, Upstream::Aws, "AWSEvents.PutEvents"),
    (
        Scenario::HappyPath,
        Upstream::Aws,
        "AWSStepFunctions.StartExecution",
    ),
    (Scenario::HappyPath, Upstream::Aws, SEND_EMAIL),
    (
        Scenario::HappyPath,
        Upstream::StockService,
        "POST /v1/reservations",
    ),
    (
        Scenario::HappyPath,
        Upstream::StockService,
        "POST /v1/reservations/{id}/commit",
    ),
    (
        Scenario::PaymentDeclined,
        Upstream::StockService,
        "POST /v1/reservations/{id}/release",
    ),
    (
        Scenario::HappyPath,
        Upstream::PaymentProvider,
        "POST /v1/payment_intents",
    ),
    (
        Scenario::HappyPath,
        Upstream::PaymentProvider,
        "POST /v1/payment_intents/{id}/confirm",
    ),
    (PAID_AND_COMMITTED, Upstream::PaymentProvider, "POST /v1/refunds"),
];

const SEND_EMAIL: &str = "POST /v2/email/outbound-emails";

/// The cases of the requests between services.
pub fn request_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (scenario, upstream, operation) in REQUESTS {
        for (fault_name, fault) in NETWORK_FAULTS {
            // SES does not deduplicate: when its response is lost, the function sends the mail again.
            if operation == SEND_EMAIL
                && matches!(fault, NetworkFault::DropResponse | NetworkFault::Duplicate)
            {
                continue;
            }
            cases.push(Case {
                name: format!("{operation}: {fault_name}"),
                scenario,
                rule: Some(Rule::for_operation(upstream, operation, fault)),
                times: Some(1),
                expected_outcome: if scenario == Scenario::HappyPath {
                    ExpectedOutcome::Completed
                } else {
                    ExpectedOutcome::Failed
                },
                batch: None,
                timing: match upstream {
                    Upstream::StockService | Upstream::PaymentProvider => RuleTiming::AfterTheOrder,
                    _ => RuleTiming::BeforeTheOrder,
                },
            });
        }
    }
    cases
}

/// The scenarios in which the payment provider stores a 500 under the idempotency key of a request, and their
/// outcomes.
const STORED_ERRORS: [(&str, Scenario, ExpectedOutcome); 8] = {
    use ExpectedOutcome::{Completed, Failed};
    use Scenario::{FailingProvider, FailingRefund};
    [
        (
            "creation, without effect",
            FailingProvider("pm_error_before_create"),
            Completed,
        ),
        (
            "creation, after its effect",
            FailingProvider("pm_error_after_create"),
            Completed,
        ),
        (
            "charge, without effect",
            FailingProvider("pm_error_before_effect"),
            Completed,
        ),
        (
            "charge, after its effect",
            FailingProvider("pm_error_after_confirm"),
            Completed,
        ),
        (
            "cancellation, without effect",
            FailingProvider("pm_error_before_cancel"),
            Failed,
        ),
        (
            "cancellation, after its effect",
            FailingProvider("pm_error_after_cancel"),
            Failed,
        ),
        (
            "refund, without effect",
            FailingRefund("pm_error_before_refund"),
            Failed,
        ),
        (
            "refund, after its effect",
            FailingRefund("pm_error_after_refund"),
            Failed,
        ),
    ]
};

/// The cases of server errors that the payment provider repeats.
pub fn stored_error_cases() -> Vec<Case> {
    let cases = STORED_ERRORS.map(|(name, scenario, expected_outcome)| Case {
        name: format!("stored server error of the {name}"),
        scenario,
        rule: None,
        times: None,
        expected_outcome,
        batch: None,
        timing: RuleTiming::BeforeTheOrder,
    });
    cases.into()
}

impl Scenario {
    pub fn payment_method(self) -> &'static str {
        match self {
            Self::HappyPath | Self::PinnedFailure(..) | Self::InsufficientStock => "pm_card_visa",
            Self::PaymentDeclined => "pm_card_chargeDeclined",
            Self::AuthenticatedPayment | Self::CancelledAuthentication => "pm_card_threeDSecure2Required",
            Self::FailingProvider(method) | Self::FailingRefund(method) => method,
        }
    }

    /// Whether the order waits for its customer to authenticate the payment.
    pub fn waits_for_customer(self) -> bool {
        matches!(self, Self::AuthenticatedPayment | Self::CancelledAuthentication)
    }

    pub fn quantity(self) -> i64 {
        match self {
            Self::InsufficientStock => super::INITIAL_STOCK + 1,
            _ => 1,
        }
    }
}

impl Case {
    /// The rule that leads the order into the scenario, if the scenario needs one.
    pub fn setup_rule(&self, customer_id: &str) -> Option<Rule> {
        let scenario = match self.scenario {
            Scenario::FailingRefund(_) => PAID_AND_COMMITTED,
            scenario => scenario,
        };
        match scenario {
            Scenario::PinnedFailure(function, fault) => {
                Some(Rule::for_function(function, fault).containing(customer_id))
            }
            _ => None,
        }
    }

    /// The rule of the fault under test if it is added at this time, restricted to requests and events that
    /// name this id.
    pub fn fault_rule(&self, timing: RuleTiming, id: &str) -> Option<Rule> {
        let rule = self
            .rule
            .clone()
            .filter(|_| self.timing == timing)?
            .containing(id);
        Some(match self.times {
            Some(times) => rule.limit_hits(times),
            None => rule,
        })
    }
}

#[test]
fn definition_has_cases_for_every_state() {
    let cases = state_cases(DEFINITION).unwrap();
    assert_eq!(cases.len(), 9 * (FAULTS.len() + 2));
    assert_eq!(
        cases
            .iter()
            .filter(|case| case.expected_outcome == ExpectedOutcome::Parked)
            .count(),
        6
    );
}

#[test]
fn detects_a_new_state_without_cases() {
    let mut definition: Value = serde_json::from_str(DEFINITION).unwrap();
    definition["States"]["WrapGift"] = definition["States"]["UpdateStock"].clone();
    let unknown = state_cases(&definition.to_string()).unwrap_err();
    assert_eq!(
        unknown,
        ["WrapGift has no cases: add it to the table in state_kind()"]
    );
}

#[test]
fn detects_a_compensation_that_no_longer_parks_orders() {
    let mut definition: Value = serde_json::from_str(DEFINITION).unwrap();
    definition["States"]["FailOrder"]["Catch"][0]["Next"] = "SendNotification".into();
    let problems = state_cases(&definition.to_string()).unwrap_err();
    assert!(
        problems[0].starts_with("FailOrder: the definition and the table"),
        "{problems:?}"
    );
}
