//! What happens to people's accounts.

use domain::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// A person registered. Name and address are not in it: events are kept for long and read by many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegistered {
    /// The person.
    pub user_id: UserId,
    /// When.
    pub registered_at: Timestamp,
}

impl EventData for UserRegistered {
    const SOURCE: &'static str = "core-api.users";
    const DETAIL_TYPE: &'static str = "UserRegistered";
}
