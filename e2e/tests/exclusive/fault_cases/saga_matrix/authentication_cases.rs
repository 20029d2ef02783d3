//! The cases of orders whose customer has to authenticate the payment (3D Secure): every request and every
//! function between the confirmation and the execution that continues the saga, under every fault. In some
//! cases the customer cancels the order instead.

use fault_injection::{FunctionFault, NetworkFault, Rule, Upstream};

use super::{
    batch_cases::{Consumer, batch_effect, may_send_a_mail_twice},
    cases::{Case, ExpectedOutcome, FAULTS, NETWORK_FAULTS, RuleTiming, Scenario},
};

/// The functions on this path that receive single events. process-payment runs before the customer
/// authenticates and again afterwards.
const FUNCTIONS: [(&str, RuleTiming); 3] = [
    ("process-payment", RuleTiming::BeforeTheOrder),
    ("payment-webhook", RuleTiming::WhileWaiting),
    ("process-payment", RuleTiming::WhileWaiting),
];

/// The attribute in the request that records the action. Other updates of the order do not contain it.
const ACTION: &str = "redirect_to_url";

/// The requests on this path: upstream, operation, a text in the request beside the id, and when.
const REQUESTS: [(Upstream, &str, &str, RuleTiming); 7] = [
    (
        Upstream::PaymentProvider,
        "POST /v1/payment_intents/{id}/confirm",
        "return_url",
        RuleTiming::AfterTheOrder,
    ),
    (
        Upstream::Aws,
        "DynamoDB.UpdateItem",
        ACTION,
        RuleTiming::BeforeTheOrder,
    ),
    (
        Upstream::PaymentProvider,
        "GET /v1/payment_intents/{id}",
        "",
        RuleTiming::WhileWaitingForPayment,
    ),
    (
        Upstream::Aws,
        "DynamoDB.TransactWriteItems",
        "PaymentActionCompleted",
        RuleTiming::WhileWaiting,
    ),
    (
        Upstream::Aws,
        "AWSEvents.PutEvents",
        "PaymentActionCompleted",
        RuleTiming::WhileWaiting,
    ),
    (Upstream::Aws, "DynamoDB.GetItem", "", RuleTiming::WhileWaiting),
    (
        Upstream::Aws,
        "AWSStepFunctions.StartExecution",
        "",
        RuleTiming::WhileWaiting,
    ),
];

/// The cases of functions that receive single events, and of requests.
pub fn authentication_cases() -> Vec<Case> {
    let functions = FUNCTIONS.into_iter().flat_map(|(function, timing)| {
        FAULTS.map(|(name, fault)| function_case(function, name, fault, timing))
    });
    let requests = REQUESTS
        .into_iter()
        .flat_map(|(upstream, operation, text, timing)| {
            NETWORK_FAULTS.map(|(name, fault)| request_case(upstream, operation, text, (name, fault), timing))
        });
    functions.chain(requests).collect()
}

/// The functions that end an order whose customer has cancelled it while it waited.
const CANCELLING_FUNCTIONS: [&str; 3] = ["process-payment", "refund-payment", "fail-order"];

/// The cases of orders that their customer cancels instead of authenticating the payment.
pub fn cancellation_cases() -> Vec<Case> {
    let functions = CANCELLING_FUNCTIONS.into_iter().flat_map(|function| {
        FAULTS.map(|(name, fault)| {
            cancellation_case(
                format!("{function} after the cancellation: {name}"),
                Rule::for_function(function, fault),
            )
        })
    });
    let requests = NETWORK_FAULTS.map(|(name, fault)| {
        let rule = Rule::for_operation(Upstream::Aws, "DynamoDB.TransactWriteItems", fault);
        cancellation_case(
            format!("the write of the cancellation: {name}"),
            rule.containing("cancellation_requested"),
        )
    });
    functions.chain(requests).collect()
}

fn cancellation_case(name: String, rule: Rule) -> Case {
    Case {
        scenario: Scenario::CancelledAuthentication,
        expected_outcome: ExpectedOutcome::Cancelled,
        ..authentication_case(name, rule, RuleTiming::WhileWaiting)
    }
}

/// The cases of order-processor, which receives the event that continues the saga.
pub fn continuation_message_cases() -> Vec<Case> {
    let case = |(name, fault)| Case {
        batch: Some((Consumer::OrderProcessor, batch_effect(fault))),
        ..function_case("order-processor", name, fault, RuleTiming::WhileWaiting)
    };
    FAULTS.map(case).into()
}

/// The cases of notification-sender, which mails the customer that the order is cancelled.
pub fn cancellation_message_cases() -> Vec<Case> {
    let consumer = Consumer::NotificationSender;
    let faults = FAULTS
        .into_iter()
        .filter(|(_, fault)| !may_send_a_mail_twice(*fault));
    let case = |(name, fault)| Case {
        batch: Some((consumer, batch_effect(fault))),
        ..cancellation_case(
            format!("{} after the cancellation: {name}", consumer.function_name()),
            Rule::for_function(consumer.function_name(), fault),
        )
    };
    faults.map(case).collect()
}

fn function_case(function: &str, fault_name: &str, fault: FunctionFault, timing: RuleTiming) -> Case {
    let when = match timing {
        RuleTiming::BeforeTheOrder | RuleTiming::AfterTheOrder => "before the authentication",
        RuleTiming::WhileWaiting | RuleTiming::WhileWaitingForPayment => "after the authentication",
    };
    authentication_case(
        format!("{function} {when}: {fault_name}"),
        Rule::for_function(function, fault),
        timing,
    )
}

fn request_case(
    upstream: Upstream,
    operation: &str,
    text: &str,
    (fault_name, fault): (&str, NetworkFault),
    timing: RuleTiming,
) -> Case {
    authentication_case(
        format!("{operation} of an authenticated payment: {fault_name}"),
        Rule::for_operation(upstream, operation, fault).containing(text),
        timing,
    )
}

fn authentication_case(name: String, rule: Rule, timing: RuleTiming) -> Case {
    Case {
        name,
        scenario: Scenario::AuthenticatedPayment,
        rule: Some(rule),
        times: Some(1),
        expected_outcome: ExpectedOutcome::Completed,
        batch: None,
        timing,
    }
}
