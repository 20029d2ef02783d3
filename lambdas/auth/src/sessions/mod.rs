//! Sessions: one refresh token family per sign-in, stored in DynamoDB.

mod refresh_token;
mod token_family;
mod token_response;

use chrono::TimeDelta;
use domain::{Clock, Timestamp, UserId, ids::uuid_v7};
use dynamodb_table::{DynamoDbError, applied, number, text};
use secrets::Secret;
use uuid::Uuid;

use crate::sessions_table::SessionsTable;

pub use refresh_token::{InvalidPepper, InvalidRefreshToken, Peppers, RefreshToken};
use token_family::{RotationDecision, TokenFamily};
pub use token_response::TokenResponse;

/// A session ends when it is not refreshed for this long.
const IDLE_TIMEOUT: TimeDelta = TimeDelta::days(30);

/// A rotation that loses a race reads the winner's state again and decides anew. It cannot lose twice: a
/// token that was rotated away never becomes the current one again.
const MAX_ROTATION_ATTEMPTS: usize = 3;

/// Clones share the DynamoDB client.
#[derive(Clone, Debug)]
pub struct Sessions {
    sessions_table: SessionsTable,
    clock: Clock,
}

#[derive(Debug)]
pub enum RefreshOutcome {
    /// The token was valid.
    Refreshed {
        user_id: UserId,
        signed_in_at: Timestamp,
        /// The token for the next refresh.
        successor: RefreshToken,
    },
    /// The token was an old one, and this call has ended the session for that reason.
    ReuseDetected { user_id: UserId },
    /// The session does not exist, has expired or has ended.
    NotFound,
}

/// A session that a logout has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutOutcome {
    pub user_id: UserId,
    /// The token was neither the current nor the previous one: another client has used a later token.
    pub reuse_detected: bool,
}

impl Sessions {
    #[must_use]
    pub fn new(sessions_table: SessionsTable, clock: Clock) -> Self {
        Self {
            sessions_table,
            clock,
        }
    }

    /// Creates a session and returns its first token.
    pub async fn create(&self, user_id: UserId) -> Result<RefreshToken, DynamoDbError> {
        let now = self.clock.now();
        let token = RefreshToken::generate(uuid_v7(now));
        let family = TokenFamily {
            user_id,
            current_digest: token.digest(),
            previous_digest: None,
            rotated_at: now,
            signed_in_at: now,
        };
        self.sessions_table
            .insert(&item_key(token.family_id()), &family, now + IDLE_TIMEOUT)
            .await?;
        Ok(token)
    }

    /// Exchanges a token for its successor. An old token ends the session.
    pub async fn refresh(
        &self,
        token: &RefreshToken,
        peppers: &Secret<Peppers>,
    ) -> Result<RefreshOutcome, DynamoDbError> {
        let digest = token.digest();
        for _ in 0..MAX_ROTATION_ATTEMPTS {
            let now = self.clock.now();
            let Some(family) = self.find_family(token.family_id(), now).await? else {
                return Ok(RefreshOutcome::NotFound);
            };
            let successor = match family.evaluate(&digest, now) {
                RotationDecision::Rotate => {
                    let successor = token.successor(peppers.current().await.present());
                    self.rotate(&digest, &successor, now).await?.then_some(successor)
                }
                RotationDecision::RepeatSuccessor => {
                    match current_token(&family, token, peppers).await {
                        Some(current) => Some(current),
                        // The pepper was replaced after the rotation, and the secret does not contain it.
                        None => return Ok(RefreshOutcome::NotFound),
                    }
                }
                RotationDecision::ReuseDetected => {
                    let user_id = family.user_id;
                    let revoked = self.revoke(token.family_id()).await?;
                    // Only one of several concurrent calls reports the reuse, so the user gets one mail.
                    return Ok(if revoked {
                        RefreshOutcome::ReuseDetected { user_id }
                    } else {
                        RefreshOutcome::NotFound
                    });
                }
            };
            if let Some(successor) = successor {
                return Ok(RefreshOutcome::Refreshed {
                    user_id: family.user_id,
                    signed_in_at: family.signed_in_at,
                    successor,
                });
            }
        }
        Ok(RefreshOutcome::NotFound)
    }

    /// The user whose session this is, if the token is the current or the previous one.
    pub async fn owner(&self, token: &RefreshToken) -> Result<Option<UserId>, DynamoDbError> {
        let family = self.find_family(token.family_id(), self.clock.now()).await?;
        let digest = token.digest();
        Ok(family
            .filter(|family| family.is_current_or_previous(&digest))
            .map(|family| family.user_id))
    }

    /// Ends the token's session. Returns `None` when the session does not exist or has ended before.
    pub async fn logout(&self, token: &RefreshToken) -> Result<Option<LogoutOutcome>, DynamoDbError> {
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

    /// Ends a session. Returns `false` when the session does not exist or has ended before.
    pub async fn revoke(&self, family_id: Uuid) -> Result<bool, DynamoDbError> {
        let removed: Option<TokenFamily> = self
            .sessions_table
            .remove(&item_key(family_id), self.clock.now())
            .await?;
        Ok(removed.is_some())
    }

    async fn find_family(
        &self,
        family_id: Uuid,
        now: Timestamp,
    ) -> Result<Option<TokenFamily>, DynamoDbError> {
        self.sessions_table.find(&item_key(family_id), now).await
    }

    /// Replaces the token with this digest by its successor. Returns `false` when the token is no longer the
    /// current one.
    async fn rotate(
        &self,
        digest: &str,
        successor: &RefreshToken,
        now: Timestamp,
    ) -> Result<bool, DynamoDbError> {
        let sent = self
            .sessions_table
            .start_update(&item_key(successor.family_id()))
            .update_expression(
                "SET #current = :successor, previous = :presented, rotated_at = :now, #ttl = :ttl",
            )
            .condition_expression("#current = :presented")
            .expression_attribute_names("#current", "current")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":successor", text(successor.digest()))
            .expression_attribute_values(":presented", text(digest))
            .expression_attribute_values(":now", number(now.timestamp_millis()))
            .expression_attribute_values(":ttl", number((now + IDLE_TIMEOUT).timestamp()))
            .send()
            .await;
        applied(sent)
    }
}

/// The family's current token, which one of the peppers has derived from `previous`. Another process may have
/// derived it with a pepper that this process has not read yet.
async fn current_token(
    family: &TokenFamily,
    previous: &RefreshToken,
    peppers: &Secret<Peppers>,
) -> Option<RefreshToken> {
    let find = |peppers: &Peppers| {
        let mut successors = peppers.iter().map(|pepper| previous.successor(pepper));
        successors.find(|successor| successor.digest() == family.current_digest)
    };
    let cached = peppers.current().await;
    match find(&cached) {
        Some(current) => Some(current),
        None => {
            let read_again = peppers.read_again(&cached).await?;
            find(&read_again)
        }
    }
}

fn item_key(family_id: Uuid) -> String {
    format!("refresh#{family_id}")
}
