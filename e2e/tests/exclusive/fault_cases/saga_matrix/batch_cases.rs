//! The cases of the functions that receive batches of messages from queues. A fault of such a function also
//! affects the other messages of its batch.

use fault_injection::{FunctionFault, Rule};
use strum::{IntoStaticStr, VariantArray};

use super::cases::{Case, ExpectedOutcome, FAULTS, RuleTiming, Scenario};

/// A function that receives batches of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Consumer {
    OrderProcessor,
    NotificationSender,
    ReceiptWriter,
}

impl Consumer {
    pub fn function_name(self) -> &'static str {
        self.into()
    }
}

/// What a fault does to the other messages in the batch of its order's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEffect {
    /// They are received again after half a minute.
    Repeats,
    /// They may be completed. The faults of their own orders could then no longer hit.
    Completes,
}

/// How many faults may at the same time make a whole batch of a function's messages visible again after half
/// a minute. A message that shares its batch with too many faulty messages would reach the dead-letter queue.
pub const MAX_CONCURRENT_BATCH_FAULTS: u32 = 4;

impl BatchEffect {
    /// How many of [`MAX_CONCURRENT_BATCH_FAULTS`] slots a fault with this effect needs.
    pub fn slots(self) -> u32 {
        match self {
            Self::Repeats => 1,
            Self::Completes => MAX_CONCURRENT_BATCH_FAULTS,
        }
    }
}

/// The cases of the functions that consume queues before and after the saga.
pub fn message_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (fault_name, fault) in FAULTS {
        for consumer in Consumer::VARIANTS.iter().copied() {
            if consumer == Consumer::NotificationSender && may_send_a_mail_twice(fault) {
                continue;
            }
            cases.push(Case {
                name: format!("{}: {fault_name}", consumer.function_name()),
                scenario: Scenario::HappyPath,
                rule: Some(Rule::for_function(consumer.function_name(), fault)),
                times: Some(1),
                expected_outcome: ExpectedOutcome::Completed,
                batch: Some((consumer, batch_effect(fault))),
                timing: RuleTiming::BeforeTheOrder,
            });
        }
    }
    cases
}

/// SES does not deduplicate: after a crash between the mail and its record, the function sends it again.
pub fn may_send_a_mail_twice(fault: FunctionFault) -> bool {
    matches!(fault, FunctionFault::CrashDuring(_))
}

/// The effect of a fault of a function that receives a batch of messages.
pub fn batch_effect(fault: FunctionFault) -> BatchEffect {
    match fault {
        FunctionFault::DuplicateConcurrent
        | FunctionFault::DuplicateSequential
        | FunctionFault::CrashDuring(_) => BatchEffect::Completes,
        _ => BatchEffect::Repeats,
    }
}
