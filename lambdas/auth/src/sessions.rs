//! Sessions in DynamoDB: a family of refresh tokens for each sign-in.

use aws_sdk_dynamodb::types::ReturnValue;
use chrono::TimeDelta;
use domain::{Clock, Timestamp, UserId, ids::uuid_v7};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    refresh_token::{Family, Pepper, RefreshToken, Verdict},
    store::{Store, StoreError, number, text},
};

/// A session that is not used for so long is over.
const LIFETIME: TimeDelta = TimeDelta::days(30);

/// A rotation that loses a race reads what won, which decides. It does not lose twice: what was rotated away is
/// never the newest again.
const ATTEMPTS: usize = 3;

/// The sessions. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Sessions {
    store: Store,
    pepper: Pepper,
    clock: Clock,
}

/// What became of a token that was shown.
#[derive(Debug)]
pub enum Shown {
    /// It was good for this successor.
    Good {
        /// Whose session it is.
        user_id: UserId,
        /// When they signed in.
        began_at: Timestamp,
        /// What to show the next time.
        next: RefreshToken,
    },
    /// It is an old one, and this call has ended the session because of it.
    Reused {
        /// Whose session it was.
        user_id: UserId,
    },
    /// There is no such session, or none any more.
    Unknown,
}

/// A session that was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whose it was.
    pub user_id: UserId,
    /// Whether the token is neither the newest nor the one before: somebody else has used what came after it.
    pub stolen: bool,
}

/// A family as it is stored; moments are in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Item {
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
    pub fn new(store: Store, pepper: Pepper, clock: Clock) -> Self {
        Self { store, pepper, clock }
    }

    /// Begins a session, and gives its first token.
    pub async fn begin(&self, user_id: UserId) -> Result<RefreshToken, StoreError> {
        let now = self.clock.now();
        let token = RefreshToken::first(uuid_v7(now));
        let item = Item {
            user_id,
            current: token.digest(),
            previous: None,
            rotated_at: now.timestamp_millis(),
            began_at: now.timestamp_millis(),
        };
        self.store
            .keep(&id(token.family()), &item, now + LIFETIME)
            .await?;
        Ok(token)
    }

    /// Takes a token that is shown, and gives its successor. An old one ends the session.
    pub async fn show(&self, token: &RefreshToken) -> Result<Shown, StoreError> {
        let digest = token.digest();
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let Some(family) = self.family(token.family(), now).await? else {
                return Ok(Shown::Unknown);
            };
            let next = token.successor(&self.pepper);
            let good = match family.judge(&digest, now) {
                Verdict::Rotate => self.rotate(&digest, &next, now).await?,
                // Another successor stands there if the pepper was another one a moment ago.
                Verdict::Repeat if family.current == next.digest() => true,
                Verdict::Repeat => return Ok(Shown::Unknown),
                Verdict::Reused => {
                    let user_id = family.user_id;
                    let ended = self.end(token.family()).await?;
                    // Of many who show an old one at once, one tells.
                    return Ok(if ended {
                        Shown::Reused { user_id }
                    } else {
                        Shown::Unknown
                    });
                }
            };
            if good {
                return Ok(Shown::Good {
                    user_id: family.user_id,
                    began_at: family.began_at,
                    next,
                });
            }
        }
        Ok(Shown::Unknown)
    }

    /// Whose session it is of which this is the newest token, or the one before.
    pub async fn owner(&self, token: &RefreshToken) -> Result<Option<UserId>, StoreError> {
        let family = self.family(token.family(), self.clock.now()).await?;
        let digest = token.digest();
        Ok(family
            .filter(|family| family.is_recent(&digest))
            .map(|family| family.user_id))
    }

    /// Ends the session that the token belongs to; none when there is no such session, or none any more.
    pub async fn leave(&self, token: &RefreshToken) -> Result<Option<Left>, StoreError> {
        let Some(family) = self.family(token.family(), self.clock.now()).await? else {
            return Ok(None);
        };
        if !self.end(token.family()).await? {
            return Ok(None);
        }
        Ok(Some(Left {
            user_id: family.user_id,
            stolen: !family.is_recent(&token.digest()),
        }))
    }

    /// Ends a session. False when it was ended before.
    pub async fn end(&self, family: Uuid) -> Result<bool, StoreError> {
        let ended: Option<Item> = self.store.take(&id(family), self.clock.now()).await?;
        Ok(ended.is_some())
    }

    async fn family(&self, family: Uuid, now: Timestamp) -> Result<Option<Family>, StoreError> {
        let item: Option<Item> = self.store.find(&id(family), now).await?;
        Ok(item.map(Family::from))
    }

    /// Puts the successor in the place of the token with this digest, if that is the newest still.
    async fn rotate(&self, digest: &str, next: &RefreshToken, now: Timestamp) -> Result<bool, StoreError> {
        let sent = self
            .store
            .update(&id(next.family()))
            .update_expression("SET #current = :next, previous = :shown, rotated_at = :now, #ttl = :ttl")
            .condition_expression("#current = :shown")
            .expression_attribute_names("#current", "current")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":next", text(&next.digest()))
            .expression_attribute_values(":shown", text(digest))
            .expression_attribute_values(":now", number(now.timestamp_millis()))
            .expression_attribute_values(":ttl", number((now + LIFETIME).timestamp()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        Ok(Store::written::<Item>(sent)?.is_some())
    }
}

fn id(family: Uuid) -> String {
    format!("refresh#{family}")
}

impl From<Item> for Family {
    fn from(item: Item) -> Self {
        let moment = |ms| Timestamp::from_timestamp_millis(ms).unwrap_or_default();
        Self {
            user_id: item.user_id,
            current: item.current,
            previous: item.previous,
            rotated_at: moment(item.rotated_at),
            began_at: moment(item.began_at),
        }
    }
}
