//! The W3C Trace Context (level 1) `traceparent` that every event carries.

use std::{fmt, str::FromStr};

use domain::{Timestamp, ids::uuid_v7};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A W3C `traceparent`: the trace id, the id of the parent span and the trace flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a W3C traceparent of version 00")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// Starts a new, sampled trace; `at` is the time part of its ids.
    #[must_use]
    pub fn root(at: Timestamp) -> Self {
        Self {
            trace_id: uuid_v7(at).into_bytes(),
            span_id: new_span_id(at),
            flags: 1,
        }
    }

    /// Returns a `traceparent` with a new span id in the same trace.
    #[must_use]
    pub fn child(self, at: Timestamp) -> Self {
        Self {
            span_id: new_span_id(at),
            ..self
        }
    }

    /// The trace id as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        Uuid::from_bytes(self.trace_id).simple().to_string()
    }
}

/// Takes the last 8 bytes of a UUIDv7, which are random.
fn new_span_id(at: Timestamp) -> [u8; 8] {
    let id = uuid_v7(at).into_bytes();
    std::array::from_fn(|i| id[i + 8])
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-", self.trace_id())?;
        self.span_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace_id, span_id, flags] = parts[..] else {
            return Err(InvalidTraceParent);
        };
        let [0] = hex::<1>(version)? else {
            return Err(InvalidTraceParent);
        };
        let [flags] = hex::<1>(flags)?;
        let parsed = Self {
            trace_id: hex(trace_id)?,
            span_id: hex(span_id)?,
            flags,
        };
        // The specification declares ids of zero bytes only invalid.
        if parsed.trace_id == [0; 16] || parsed.span_id == [0; 8] {
            return Err(InvalidTraceParent);
        }
        Ok(parsed)
    }
}

/// Parses `N` bytes from lower-case hexadecimal digits; the specification forbids upper case.
fn hex<const N: usize>(text: &str) -> Result<[u8; N], InvalidTraceParent> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(InvalidTraceParent),
    };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(InvalidTraceParent);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

impl TryFrom<String> for TraceParent {
    type Error = InvalidTraceParent;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(trace: TraceParent) -> Self {
        trace.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_the_example_of_the_specification() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), text);
    }

    #[test]
    fn rejects_invalid_traceparents() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031éc-b7ad6b7169203331-01",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
    }

    #[test]
    fn child_keeps_the_trace_id() {
        let at = Timestamp::UNIX_EPOCH;
        let root = TraceParent::root(at);
        let child = root.child(at);
        assert_eq!(root.trace_id(), child.trace_id());
        assert_ne!(root, child);
    }
}
