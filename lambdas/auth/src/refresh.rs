//! `refresh`: the next tokens of a session. An old token that comes again ends the session, and its person is told.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::{Timestamp, UserId};
use events::AccountMail;
use lambda_shared::{Handler, Init, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{User, Users};

use crate::{
    AuthError,
    access::Issuer,
    http::{self, Reply, Request},
    journal,
    mailer::Mailer,
    refresh_token::RefreshToken,
    sessions::{Sessions, Shown},
    start,
    tokens::Tokens,
};

struct Refresh {
    users: Users,
    sessions: Sessions,
    issuer: Issuer,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    refresh_token: String,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let refresh = Arc::new(Refresh {
        users: start::users(&init).await?,
        sessions: start::sessions(&init, store).await?,
        issuer: start::issuer(&init).await?,
        mailer: start::mailer(&init)?,
    });
    Ok(http::handler(init.clock, move |request| {
        let refresh = Arc::clone(&refresh);
        async move { refresh.answer(&request).await }
    }))
}

impl Refresh {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let body: Body = request.json()?;
        let token: RefreshToken = body.refresh_token.parse().map_err(|_| AuthError::Session)?;
        match self.sessions.show(&token).await? {
            Shown::Unknown => Err(AuthError::Session),
            Shown::Reused { user_id } => {
                revoked(&self.users, &self.mailer, user_id, request).await?;
                Err(AuthError::Session)
            }
            Shown::Good {
                user_id,
                began_at,
                next,
            } => {
                let Some(user) = self.standing(user_id, began_at).await? else {
                    self.sessions.end(token.family()).await?;
                    return Err(AuthError::Session);
                };
                let tokens = Tokens::new(self.issuer.issue(&user).await?, next);
                Ok(Reply::json(StatusCode::OK, &tokens))
            }
        }
    }

    /// The person, unless the account is gone or everything from before a later moment was ended.
    async fn standing(&self, user_id: UserId, began_at: Timestamp) -> Result<Option<User>, AuthError> {
        let Some(standing) = self.users.standing(user_id).await? else {
            return Ok(None);
        };
        if began_at.timestamp_millis() < standing.tokens_valid_from.timestamp_millis() {
            return Ok(None);
        }
        Ok(self.users.account(user_id).await?)
    }
}

/// Tells the person that one of their sessions was ended because two had its token.
pub(crate) async fn revoked(
    users: &Users,
    mailer: &Mailer,
    user_id: UserId,
    request: &Request,
) -> Result<(), AuthError> {
    journal::note(users, request, "session_revoked", None, Some(user_id), json!({})).await;
    if let Some(user) = users.account(user_id).await? {
        mailer.tell(&user, AccountMail::SessionRevoked, request).await;
    }
    Ok(())
}
