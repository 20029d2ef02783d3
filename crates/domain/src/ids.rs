//! Ids: UUIDv7, a type for each thing, so that an order's id can never be taken for a product's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Uuid};

use crate::Timestamp;

/// A new UUIDv7 for the moment `at` (RFC 9562, section 5.7). Ids made later sort later, to the millisecond.
#[must_use]
pub fn uuid_v7(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(
        NoContext,
        seconds,
        at.timestamp_subsec_nanos(),
    ))
}

macro_rules! define_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id for the moment `at`.
            #[must_use]
            pub fn new(at: Timestamp) -> Self {
                Self(uuid_v7(at))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

define_id!(
    /// An order. Its reservation in stock-service and its saga's execution carry the same id.
    OrderId
);
impl OrderId {
    /// When the order was placed, to the millisecond: a UUIDv7 begins with it.
    #[must_use]
    pub fn created_at(self) -> Timestamp {
        let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |at| at.to_unix());
        let seconds = i64::try_from(seconds).unwrap_or(0);
        Timestamp::from_timestamp(seconds, nanos).unwrap_or_default()
    }
}

define_id!(
    /// A product of the catalogue.
    ProductId
);
define_id!(
    /// A person who buys or administers.
    UserId
);
define_id!(
    /// An event. Consumers recognise a second delivery by it.
    EventId
);

/// A payment at the provider. The provider chooses it, so it is text and not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentId(pub String);

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_sort_by_time() {
        let early = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let late = DateTime::from_timestamp(1_800_000_000, 1_000_000).unwrap();
        let (first, second) = (OrderId::new(early), OrderId::new(late));
        assert_eq!(first.0.get_version_num(), 7);
        assert!(first < second);
        assert_eq!((first.created_at(), second.created_at()), (early, late));
    }

    use chrono::DateTime;
}
