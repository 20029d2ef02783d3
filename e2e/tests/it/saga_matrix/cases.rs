//! The cases: every state that does something, made from the state machine's definition, under every fault; and every
//! request that an order brings about between programs, under every fault of the wire.

use domain::OrderId;
use fault_injection::{FunctionFault, NetworkFault, Rule, Target, Upstream};
use serde_json::Value;

/// The saga, as it is deployed.
pub const DEFINITION: &str = include_str!("../../../../step-functions/order-saga.asl.json");

/// What a step has to survive once. `CrashDuring` is in the middle of what a step takes here, 20 to 60 ms.
const FAULTS: [(&str, FunctionFault); 11] = [
    ("failure before its effect", FunctionFault::ErrorBefore),
    ("failure after its effect", FunctionFault::ErrorAfter),
    ("time-out before its effect", FunctionFault::TimeoutBefore),
    ("time-out after its effect", FunctionFault::TimeoutAfter),
    ("time-out that is waited for", FunctionFault::HangAfter),
    ("throttle", FunctionFault::Throttle),
    ("two deliveries at once", FunctionFault::DuplicateConcurrent),
    ("two deliveries in turn", FunctionFault::DuplicateSequential),
    ("crash before its effect", FunctionFault::CrashBefore),
    ("crash in the middle", FunctionFault::CrashDuring(20)),
    ("crash after its effect", FunctionFault::CrashAfter),
];

/// What a request has to survive once. `Delay` is longer than any client of ours waits: the request is late.
const WIRE_FAULTS: [(&str, NetworkFault); 5] = [
    ("refused", NetworkFault::Refuse),
    ("cut off", NetworkFault::Disconnect),
    ("late", NetworkFault::Delay(12_000)),
    ("answer lost", NetworkFault::DropResponse),
    ("sent twice", NetworkFault::Duplicate),
];

/// One order, and what goes wrong with it.
#[derive(Clone, Debug)]
pub struct Case {
    /// State or request, and fault.
    pub name: String,
    /// What brings the order there.
    pub scenario: Scenario,
    /// Where what goes wrong.
    pub target: Target,
    /// How often; without it, for good.
    pub times: Option<u64>,
    /// How the order must end.
    pub expected_outcome: ExpectedOutcome,
}

/// How an order gets into a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Every order comes there.
    HappyPath,
    /// The card is declined.
    PaymentDeclined,
    /// There is less than is ordered.
    InsufficientStock,
    /// A function fails for good.
    PinnedFailure(&'static str, FunctionFault),
}

/// The most there is to put back: the money is taken and the stock committed, and nobody knows.
const PAID_AND_COMMITTED: Scenario = Scenario::PinnedFailure("update-stock", FunctionFault::ErrorAfter);

/// How an order ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    Completed,
    Failed,
    /// It waits for a person.
    Parked,
}

/// What has to be known of a state besides what its definition says.
#[derive(Debug, PartialEq, Eq)]
enum StateKind {
    /// It runs a function.
    Function {
        scenario: Scenario,
        /// How the order ends when the function fails for good before its effect, and after it.
        permanent_failure_outcomes: [ExpectedOutcome; 2],
    },
    /// Step Functions does it itself, so that no fault of ours reaches it. Every compensation that fails for good
    /// comes there.
    OrderParking,
}

/// The table of all states. One that is missing here fails the suite.
fn state_kind(state: &str) -> Option<StateKind> {
    use ExpectedOutcome::{Completed, Failed, Parked};
    let function = |way, for_good| {
        Some(StateKind::Function {
            scenario: way,
            permanent_failure_outcomes: for_good,
        })
    };
    match state {
        "ReserveStock" | "ProcessPayment" | "UpdateStock" => function(Scenario::HappyPath, [Failed, Failed]),
        // Once it has had its effect, the refund finds the order completed.
        "CompleteOrder" => function(Scenario::HappyPath, [Failed, Completed]),
        // The relay publishes what it could not.
        "SendNotification" => function(Scenario::HappyPath, [Completed, Completed]),
        "RefundPayment" => function(PAID_AND_COMMITTED, [Parked, Parked]),
        "ReleaseStock" => function(Scenario::PaymentDeclined, [Parked, Parked]),
        "FailOrder" => function(Scenario::InsufficientStock, [Parked, Parked]),
        "ParkOrder" => Some(StateKind::OrderParking),
        _ => None,
    }
}

/// Every case of a definition; those that take longest come first. Fails with the names of states that the table
/// does not know, and of states of which it is wrong.
pub fn cases(definition: &str) -> Result<Vec<Case>, Vec<String>> {
    let definition: Value = serde_json::from_str(definition).expect("the definition is JSON");
    let states = definition["States"]
        .as_object()
        .expect("a state machine has states");
    let (mut once, mut for_good, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for (name, state) in states.iter().filter(|(_, state)| state["Type"] == "Task") {
        match (state_kind(name), function_name(state)) {
            (
                Some(StateKind::Function {
                    scenario: way,
                    permanent_failure_outcomes: ends,
                }),
                Some(function),
            ) => {
                let is_compensation = ends.contains(&ExpectedOutcome::Parked);
                if is_compensation != parks_order(state) {
                    wrong.push(format!(
                        "{name} parks orders, or does not, against what the table says"
                    ));
                }
                let case = |what: &str, fault, times, end| Case {
                    name: format!("{name}: {what}"),
                    scenario: way,
                    target: Rule::for_function(&function, fault).at,
                    times,
                    expected_outcome: end,
                };
                let end = if is_compensation {
                    ExpectedOutcome::Failed
                } else {
                    ExpectedOutcome::Completed
                };
                once.extend(FAULTS.map(|(what, fault)| case(what, fault, Some(1), end)));
                for_good.extend([
                    case(
                        "failure for good before its effect",
                        FunctionFault::ErrorBefore,
                        None,
                        ends[0],
                    ),
                    case(
                        "failure for good after its effect",
                        FunctionFault::ErrorAfter,
                        None,
                        ends[1],
                    ),
                ]);
            }
            (Some(StateKind::OrderParking), None) => {}
            _ => wrong.push(format!(
                "{name} has no cases: say in the table how an order gets there"
            )),
        }
    }
    for_good.sort_by_key(|case| case.expected_outcome != ExpectedOutcome::Parked);
    for_good.extend(once);
    if wrong.is_empty() {
        Ok(for_good)
    } else {
        Err(wrong)
    }
}

/// The name of the function that a state runs; none when it runs no function.
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

/// Whether a failure for good parks the order.
fn parks_order(state: &Value) -> bool {
    let catchers = state["Catch"].as_array().into_iter().flatten();
    catchers
        .filter(|catcher| catcher["ErrorEquals"][0] == "States.ALL")
        .any(|catcher| catcher["Next"] == "ParkOrder")
}

const NOTIFICATION_SENDER: &str = "notification-sender";

/// The functions that are handed batches of messages.
const CONSUMERS: [&str; 2] = ["order-processor", NOTIFICATION_SENDER];

/// The functions before and behind the saga, which take messages from queues, under every fault.
pub fn message_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, fault) in FAULTS {
        for function in CONSUMERS {
            // SES knows no repetitions, so a crash between its taking the mail and our record of that sends another.
            if function == NOTIFICATION_SENDER && matches!(fault, FunctionFault::CrashDuring(_)) {
                continue;
            }
            cases.push(Case {
                name: format!("{function}: {what}"),
                scenario: Scenario::HappyPath,
                target: Rule::for_function(function, fault).at,
                times: Some(1),
                expected_outcome: ExpectedOutcome::Completed,
            });
        }
    }
    cases
}

/// Every request between programs in which an order can be recognised, with what brings an order there.
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

/// Every request under every fault of the wire.
pub fn wire_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (way, to, operation) in REQUESTS {
        for (what, fault) in WIRE_FAULTS {
            // SES knows no repetitions, so a mail whose answer is lost is sent again.
            if operation == SEND_EMAIL
                && matches!(fault, NetworkFault::DropResponse | NetworkFault::Duplicate)
            {
                continue;
            }
            cases.push(Case {
                name: format!("{operation}: {what}"),
                scenario: way,
                target: Rule::for_operation(to, operation, fault).at,
                times: Some(1),
                expected_outcome: if way == Scenario::HappyPath {
                    ExpectedOutcome::Completed
                } else {
                    ExpectedOutcome::Failed
                },
            });
        }
    }
    cases
}

impl Case {
    /// What has to go wrong on the way, for the customer with this id.
    pub fn setup_rule(&self, customer: &str) -> Option<Rule> {
        match self.scenario {
            Scenario::PinnedFailure(function, fault) => {
                Some(Rule::for_function(function, fault).containing(customer))
            }
            _ => None,
        }
    }

    /// Whether the batch of messages may be done with that the fault hits. Then it takes along other orders' messages,
    /// which their own faults wait for.
    pub fn completes_its_batch(&self) -> bool {
        use FunctionFault::{CrashDuring, DuplicateConcurrent, DuplicateSequential};
        matches!(
            &self.target,
            Target::Function { function: Some(function), fault: DuplicateConcurrent | DuplicateSequential | CrashDuring(_) }
                if CONSUMERS.contains(&function.as_str())
        )
    }

    /// The fault itself. Requests to stock-service and the provider name no customer; of the order they name nothing
    /// passes before it is placed.
    pub fn fault_rule(&self, customer: &str, order_id: Option<OrderId>) -> Option<Rule> {
        let by_order = matches!(
            self.target,
            Target::Network {
                to: Upstream::StockService | Upstream::PaymentProvider,
                ..
            }
        );
        let mentioning = match (by_order, order_id) {
            (false, None) => customer.to_owned(),
            (true, Some(order_id)) => order_id.to_string(),
            _ => return None,
        };
        Some(Rule {
            at: self.target.clone(),
            mentioning: Some(mentioning),
            share: None,
            times: self.times,
        })
    }
}

#[test]
fn every_state_has_its_cases() {
    let cases = cases(DEFINITION).unwrap();
    assert_eq!(cases.len(), 8 * (FAULTS.len() + 2));
    assert_eq!(
        cases
            .iter()
            .filter(|case| case.expected_outcome == ExpectedOutcome::Parked)
            .count(),
        6
    );
}

#[test]
fn a_new_state_without_cases_is_noticed() {
    let mut definition: Value = serde_json::from_str(DEFINITION).unwrap();
    definition["States"]["WrapGift"] = definition["States"]["UpdateStock"].clone();
    let unknown = cases(&definition.to_string()).unwrap_err();
    assert_eq!(
        unknown,
        ["WrapGift has no cases: say in the table how an order gets there"]
    );
}

#[test]
fn a_compensation_that_no_longer_parks_is_noticed() {
    let mut definition: Value = serde_json::from_str(DEFINITION).unwrap();
    definition["States"]["FailOrder"]["Catch"][0]["Next"] = "SendNotification".into();
    let wrong = cases(&definition.to_string()).unwrap_err();
    assert!(
        wrong[0].starts_with("FailOrder parks orders, or does not"),
        "{wrong:?}"
    );
}
