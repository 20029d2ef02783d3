//! The cases, made from the state machine's definition: every state that does something, under every fault.

use faults::{FunctionFault, Rule};
use serde_json::Value;

/// The saga, as it is deployed.
pub const DEFINITION: &str = include_str!("../../../../step-functions/order-saga.asl.json");

/// What a step has to survive once. `CrashDuring` is in the middle of what a step takes here, 20 to 60 ms.
const FAULTS: [(&str, FunctionFault); 11] = [
    ("failure before its effect", FunctionFault::ErrorBefore),
    ("failure after its effect", FunctionFault::ErrorAfter),
    ("time-out before its effect", FunctionFault::TimeOutBefore),
    ("time-out after its effect", FunctionFault::TimeOutAfter),
    ("time-out that is waited for", FunctionFault::HangAfter),
    ("throttle", FunctionFault::Throttle),
    ("two deliveries at once", FunctionFault::DuplicateAtOnce),
    ("two deliveries in turn", FunctionFault::DuplicateInTurn),
    ("crash before its effect", FunctionFault::CrashBefore),
    ("crash in the middle", FunctionFault::CrashDuring(20)),
    ("crash after its effect", FunctionFault::CrashAfter),
];

/// One order, and what goes wrong with it.
#[derive(Clone, Debug)]
pub struct Case {
    /// State and fault.
    pub name: String,
    /// What brings the order into the state.
    pub way: Way,
    /// The function of the state.
    pub function: String,
    /// What goes wrong there.
    pub fault: FunctionFault,
    /// How often; without it, for good.
    pub times: Option<u64>,
    /// How the order must end.
    pub end: End,
}

/// How an order gets into a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Every order comes there.
    Good,
    /// The card is declined.
    Declined,
    /// There is less than is ordered.
    Short,
    /// A function fails for good.
    Failing(&'static str, FunctionFault),
}

/// How an order ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Completed,
    Failed,
    /// It waits for a person.
    Parked,
}

/// What has to be known of a state besides what its definition says.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// It runs a function.
    Function {
        way: Way,
        /// How the order ends when the function fails for good before its effect, and after it.
        for_good: [End; 2],
    },
    /// Step Functions does it itself, so that no fault of ours reaches it. Every compensation that fails for good
    /// comes there.
    Parking,
}

/// The table of all states. One that is missing here fails the suite.
fn place(state: &str) -> Option<Place> {
    use End::{Completed, Failed, Parked};
    let function = |way, for_good| Some(Place::Function { way, for_good });
    match state {
        "ReserveStock" | "ProcessPayment" | "UpdateStock" => function(Way::Good, [Failed, Failed]),
        // Once it has had its effect, the refund finds the order completed.
        "CompleteOrder" => function(Way::Good, [Failed, Completed]),
        // The relay publishes what it could not.
        "SendNotification" => function(Way::Good, [Completed, Completed]),
        // Charged and committed: the most there is to put back.
        "RefundPayment" => function(
            Way::Failing("update-stock", FunctionFault::ErrorAfter),
            [Parked, Parked],
        ),
        "ReleaseStock" => function(Way::Declined, [Parked, Parked]),
        "FailOrder" => function(Way::Short, [Parked, Parked]),
        "ParkOrder" => Some(Place::Parking),
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
        match (place(name), function(state)) {
            (Some(Place::Function { way, for_good: ends }), Some(function)) => {
                let is_compensation = ends.contains(&End::Parked);
                if is_compensation != parks(state) {
                    wrong.push(format!(
                        "{name} parks orders, or does not, against what the table says"
                    ));
                }
                let case = |what: &str, fault, times, end| Case {
                    name: format!("{name}: {what}"),
                    way,
                    function: function.clone(),
                    fault,
                    times,
                    end,
                };
                let end = if is_compensation {
                    End::Failed
                } else {
                    End::Completed
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
            (Some(Place::Parking), None) => {}
            _ => wrong.push(format!(
                "{name} has no cases: say in the table how an order gets there"
            )),
        }
    }
    for_good.sort_by_key(|case| case.end != End::Parked);
    for_good.extend(once);
    if wrong.is_empty() {
        Ok(for_good)
    } else {
        Err(wrong)
    }
}

/// The name of the function that a state runs; none when it runs no function.
fn function(state: &Value) -> Option<String> {
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
fn parks(state: &Value) -> bool {
    let catchers = state["Catch"].as_array().into_iter().flatten();
    catchers
        .filter(|catcher| catcher["ErrorEquals"][0] == "States.ALL")
        .any(|catcher| catcher["Next"] == "ParkOrder")
}

impl Case {
    /// What is to go wrong, for the customer with this id. The last one is the case's own.
    pub fn rules(&self, customer: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        if let Way::Failing(function, fault) = self.way {
            rules.push(Rule::function(function, fault).mentioning(customer));
        }
        let mut own = Rule::function(&self.function, self.fault).mentioning(customer);
        own.times = self.times;
        rules.push(own);
        rules
    }
}

#[test]
fn every_state_has_its_cases() {
    let cases = cases(DEFINITION).unwrap();
    assert_eq!(cases.len(), 8 * (FAULTS.len() + 2));
    assert_eq!(cases.iter().filter(|case| case.end == End::Parked).count(), 6);
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
