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

/// A user's tokens were revoked: the user signed out everywhere, has a new password or deleted the account.
/// The account rejects the tokens that were issued before `tokens_valid_from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokensRevoked {
    pub user_id: UserId,
    pub tokens_valid_from: Timestamp,
}

impl EventData for UserTokensRevoked {
    const SOURCE: &'static str = "core-api.users";
    const DETAIL_TYPE: &'static str = "UserTokensRevoked";
}

impl EventData for UserRegistered {
    const SOURCE: &'static str = "core-api.users";
    const DETAIL_TYPE: &'static str = "UserRegistered";
}
