//! `refresh`: the next tokens of a session. An old token that comes again ends the session, and its person is told.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::{Timestamp, UserId};
use events::AccountMail;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{User, Users};

use crate::{
    AuthError,
    access_token::UserTokenIssuer,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    mailer::Mailer,
    refresh_token::RefreshToken,
    sessions::{RefreshOutcome, Sessions},
    token_response::TokenResponse,
};

struct RefreshHandler {
    users: Users,
    sessions: Sessions,
    token_issuer: UserTokenIssuer,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    refresh_token: String,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let refresh = Arc::new(RefreshHandler {
        users: bootstrap::users(&init).await?,
        sessions: bootstrap::sessions(&init, store).await?,
        token_issuer: bootstrap::issuer(&init).await?,
        mailer: bootstrap::mailer(&init)?,
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let refresh = Arc::clone(&refresh);
        async move { refresh.handle(&request).await }
    }))
}

impl RefreshHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let token: RefreshToken = body.refresh_token.parse().map_err(|_| AuthError::SessionEnded)?;
        match self.sessions.refresh(&token).await? {
            RefreshOutcome::NotFound => Err(AuthError::SessionEnded),
            RefreshOutcome::ReuseDetected { user_id } => {
                report_session_revoked(&self.users, &self.mailer, user_id, request).await?;
                Err(AuthError::SessionEnded)
            }
            RefreshOutcome::Refreshed {
                user_id,
                signed_in_at: began_at,
                successor: next,
            } => {
                let Some(user) = self.find_active_user(user_id, began_at).await? else {
                    self.sessions.revoke(token.family_id()).await?;
                    return Err(AuthError::SessionEnded);
                };
                let tokens = TokenResponse::new(self.token_issuer.issue(&user).await?, next);
                Ok(Response::json(StatusCode::OK, &tokens))
            }
        }
    }

    /// The person, unless the account is gone or everything from before a later moment was ended.
    async fn find_active_user(
        &self,
        user_id: UserId,
        began_at: Timestamp,
    ) -> Result<Option<User>, AuthError> {
        let Some(standing) = self.users.account_status(user_id).await? else {
            return Ok(None);
        };
        if began_at.timestamp_millis() < standing.tokens_valid_from.timestamp_millis() {
            return Ok(None);
        }
        Ok(self.users.find_by_id(user_id).await?)
    }
}

/// Tells the person that one of their sessions was ended because two had its token.
pub(crate) async fn report_session_revoked(
    users: &Users,
    mailer: &Mailer,
    user_id: UserId,
    request: &Request,
) -> Result<(), AuthError> {
    audit::record(users, request, "session_revoked", None, Some(user_id), json!({})).await;
    if let Some(user) = users.find_by_id(user_id).await? {
        mailer.send(&user, AccountMail::SessionRevoked, request).await;
    }
    Ok(())
}
