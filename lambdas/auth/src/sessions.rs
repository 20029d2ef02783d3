//! Sessions in DynamoDB: a family of refresh tokens for each sign-in.

use aws_sdk_dynamodb::types::ReturnValue;
use chrono::TimeDelta;
use domain::{Clock, Timestamp, UserId, ids::uuid_v7};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    refresh_token::{Pepper, RefreshToken, RotationDecision, TokenFamily},
    sessions_table::{SessionsTable, SessionsTableError, number_attribute, string_attribute},
};

/// A session that is not used for so long is over.
const IDLE_TIMEOUT: TimeDelta = TimeDelta::days(30);

/// A rotation that loses a race reads what won, which decides. It does not lose twice: what was rotated away is
/// never the newest again.
const MAX_ROTATION_ATTEMPTS: usize = 3;

/// The sessions. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Sessions {
    sessions_table: SessionsTable,
    pepper: Pepper,
    clock: Clock,
}

/// What became of a token that was shown.
#[derive(Debug)]
pub enum RefreshOutcome {
    /// It was good for this successor.
    Refreshed {
        /// Whose session it is.
        user_id: UserId,
        /// When they signed in.
        signed_in_at: Timestamp,
        /// What to show the next time.
        successor: RefreshToken,
    },
    /// It is an old one, and this call has ended the session because of it.
    ReuseDetected {
        /// Whose session it was.
        user_id: UserId,
    },
    /// There is no such session, or none any more.
    NotFound,
}

/// A session that was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutOutcome {
    /// Whose it was.
    pub user_id: UserId,
    /// Whether the token is neither the newest nor the one before: somebody else has used what came after it.
    pub reuse_detected: bool,
}

/// A family as it is stored; moments are in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct StoredFamily {
    user_id: UserId,
    current: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    rotated_at: i64,
    began_at: i64,
}

impl Sessions {
    /// The sessions in `store`, whose tokens follow each other by `pepper`.
    #[must_use]
    pub fn new(sessions_table: SessionsTable, pepper: Pepper, clock: Clock) -> Self {
        Self {
            sessions_table,
            pepper,
            clock,
        }
    }

    /// Begins a session, and gives its first token.
    pub async fn create(&self, user_id: UserId) -> Result<RefreshToken, SessionsTableError> {
        let now = self.clock.now();
        let token = RefreshToken::generate(uuid_v7(now));
        let item = StoredFamily {
            user_id,
            current: token.digest(),
            previous: None,
            rotated_at: now.timestamp_millis(),
            began_at: now.timestamp_millis(),
        };
        self.sessions_table
            .insert(&item_key(token.family_id()), &item, now + IDLE_TIMEOUT)
            .await?;
        Ok(token)
    }

    /// Takes a token that is shown, and gives its successor. An old one ends the session.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<RefreshOutcome, SessionsTableError> {
        let digest = token.digest();
        for _ in 0..MAX_ROTATION_ATTEMPTS {
            let now = self.clock.now();
            let Some(family) = self.find_family(token.family_id(), now).await? else {
                return Ok(RefreshOutcome::NotFound);
            };
            let next = token.successor(&self.pepper);
            let good = match family.evaluate(&digest, now) {
                RotationDecision::Rotate => self.rotate(&digest, &next, now).await?,
                // Another successor stands there if the pepper was another one a moment ago.
                RotationDecision::RepeatSuccessor if family.current_digest == next.digest() => true,
                RotationDecision::RepeatSuccessor => return Ok(RefreshOutcome::NotFound),
                RotationDecision::ReuseDetected => {
                    let user_id = family.user_id;
                    let ended = self.revoke(token.family_id()).await?;
                    // Of many who show an old one at once, one tells.
                    return Ok(if ended {
                        RefreshOutcome::ReuseDetected { user_id }
                    } else {
                        RefreshOutcome::NotFound
                    });
                }
            };
            if good {
                return Ok(RefreshOutcome::Refreshed {
                    user_id: family.user_id,
                    signed_in_at: family.signed_in_at,
                    successor: next,
                });
            }
        }
        Ok(RefreshOutcome::NotFound)
    }

    /// Whose session it is of which this is the newest token, or the one before.
    pub async fn owner(&self, token: &RefreshToken) -> Result<Option<UserId>, SessionsTableError> {
        let family = self.find_family(token.family_id(), self.clock.now()).await?;
        let digest = token.digest();
        Ok(family
            .filter(|family| family.is_current_or_previous(&digest))
            .map(|family| family.user_id))
    }

    /// Ends the session that the token belongs to; none when there is no such session, or none any more.
    pub async fn logout(&self, token: &RefreshToken) -> Result<Option<LogoutOutcome>, SessionsTableError> {
        let Some(family) = self.find_family(token.family_id(), self.clock.now()).await? else {
            return Ok(None);
        };
        if !self.revoke(token.family_id()).await? {
            return Ok(None);
        }
        Ok(Some(LogoutOutcome {
            user_id: family.user_id,
            reuse_detected: !family.is_current_or_previous(&token.digest()),
        }))
    }

    /// Ends a session. False when it was ended before.
    pub async fn revoke(&self, family: Uuid) -> Result<bool, SessionsTableError> {
        let ended: Option<StoredFamily> = self
            .sessions_table
            .remove(&item_key(family), self.clock.now())
            .await?;
        Ok(ended.is_some())
    }

    async fn find_family(
        &self,
        family: Uuid,
        now: Timestamp,
    ) -> Result<Option<TokenFamily>, SessionsTableError> {
        let item: Option<StoredFamily> = self.sessions_table.find(&item_key(family), now).await?;
        Ok(item.map(TokenFamily::from))
    }

    /// Puts the successor in the place of the token with this digest, if that is the newest still.
    async fn rotate(
        &self,
        digest: &str,
        next: &RefreshToken,
        now: Timestamp,
    ) -> Result<bool, SessionsTableError> {
        let sent = self
            .sessions_table
            .update(&item_key(next.family_id()))
            .update_expression("SET #current = :next, previous = :shown, rotated_at = :now, #ttl = :ttl")
            .condition_expression("#current = :shown")
            .expression_attribute_names("#current", "current")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":next", string_attribute(&next.digest()))
            .expression_attribute_values(":shown", string_attribute(digest))
            .expression_attribute_values(":now", number_attribute(now.timestamp_millis()))
            .expression_attribute_values(":ttl", number_attribute((now + IDLE_TIMEOUT).timestamp()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        Ok(SessionsTable::updated_item::<StoredFamily>(sent)?.is_some())
    }
}

fn item_key(family: Uuid) -> String {
    format!("refresh#{family}")
}

impl From<StoredFamily> for TokenFamily {
    fn from(item: StoredFamily) -> Self {
        let moment = |ms| Timestamp::from_timestamp_millis(ms).unwrap_or_default();
        Self {
            user_id: item.user_id,
            current_digest: item.current,
            previous_digest: item.previous,
            rotated_at: moment(item.rotated_at),
            signed_in_at: moment(item.began_at),
        }
    }
}
