//! User account events.

use domain::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// A user registered. The event omits name and e-mail address: events are archived and have many consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegistered {
    pub user_id: UserId,
    pub registered_at: Timestamp,
}

impl EventData for UserRegistered {
    const SOURCE: &'static str = "core-api.users";
    const DETAIL_TYPE: &'static str = "UserRegistered";
}
