//! Requests for an SMS with a code that verifies a telephone number, in the form in which core-api sends them
//! to `sms-queue`.
//!
//! These requests are not events. They contain telephone numbers and codes, so they go directly to the
//! encrypted queue and never to the event bus, whose archive keeps events for a month.

use std::fmt;

use domain::{Language, Timestamp, ids::uuid_v7};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::TraceParent;

/// A request to send one code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneCodeRequest {
    /// sms-sender deduplicates by this id.
    pub sms_id: Uuid,
    pub traceparent: TraceParent,
    /// The recipient, in the format E.164.
    pub phone_number: String,
    pub language: Language,
    /// Six digits.
    pub code: String,
    /// An SMS that cannot be sent before this time is not sent.
    pub expires_at: Timestamp,
}

impl PhoneCodeRequest {
    /// Creates a request with a new id at the time `at`.
    #[must_use]
    pub fn new(
        phone_number: &str,
        language: Language,
        code: &str,
        expires_at: Timestamp,
        traceparent: TraceParent,
        at: Timestamp,
    ) -> Self {
        Self {
            sms_id: uuid_v7(at),
            traceparent,
            phone_number: phone_number.to_owned(),
            language,
            code: code.to_owned(),
            expires_at,
        }
    }
}

impl fmt::Debug for PhoneCodeRequest {
    /// Omits the number and the code, so that a request may be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneCodeRequest")
            .field("sms_id", &self.sms_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_omits_number_and_code() {
        let at = Timestamp::UNIX_EPOCH;
        let request = PhoneCodeRequest::new(
            "+819012345678",
            Language::En,
            "271828",
            at,
            TraceParent::root(at),
            at,
        );
        let printed = format!("{request:?}");
        assert!(
            !printed.contains("12345678") && !printed.contains("271828"),
            "{printed}"
        );
    }
}
