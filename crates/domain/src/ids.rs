//! Ids: UUIDv7 with one type per entity, so that the compiler rejects an order id where a product id is
//! expected.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Uuid};

use crate::Timestamp;

/// A new UUIDv7 with the time `at` (RFC 9562, section 5.7). A later `at` sorts later, to the millisecond.
/// UUIDv7 cannot represent times before 1970: they count as 1970.
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
            /// A new id with the time `at`.
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
    /// An order's id. The order's stock reservation and its saga execution use the same id.
    OrderId
);
impl OrderId {
    /// When the order was placed, in milliseconds: a UUIDv7 starts with its creation time. An id without
    /// a timestamp (a client may send any UUID) counts as placed in 1970.
    #[must_use]
    pub fn created_at(self) -> Timestamp {
        let unix = self.0.get_timestamp().map(|timestamp| timestamp.to_unix());
        unix.and_then(|(seconds, nanos)| Timestamp::from_timestamp(i64::try_from(seconds).ok()?, nanos))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

define_id!(
    /// The id of a product in the catalog.
    ProductId
);
define_id!(
    /// The id of a user account, of a customer or an operator.
    UserId
);
define_id!(
    /// An event's id. Consumers use it to detect duplicate deliveries.
    EventId
);

/// The id of a payment at the payment provider. The provider assigns it, so it is text and not a UUID.
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
    use chrono::DateTime;

    use super::*;

    #[test]
    fn ids_are_uuid_v7_and_sort_by_time() {
        let early = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let late = DateTime::from_timestamp(1_800_000_000, 1_000_000).unwrap();
        let (first, second) = (OrderId::new(early), OrderId::new(late));
        assert_eq!(first.0.get_version_num(), 7);
        assert!(first < second);
        assert_eq!((first.created_at(), second.created_at()), (early, late));
    }
}
