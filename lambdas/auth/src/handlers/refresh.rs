//! `refresh`: exchanges the refresh token of a session for new tokens.
//!
//! The reuse of an old refresh token ends the session, and the user gets a mail about it.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::{Timestamp, UserId};
use events::AccountMail;
use lambda_shared::{FunctionContext, Handler, InitError};
use secrets::Secret;
use serde::Deserialize;
use serde_json::json;
use users::{User, Users};

use crate::{
    AuthError,
    access_token::UserTokenIssuer,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    mailer::Mailer,
    sessions::{Peppers, RefreshOutcome, RefreshToken, Sessions, TokenResponse},
};

struct RefreshHandler {
    users: Users,
    sessions: Sessions,
    peppers: Secret<Peppers>,
    token_issuer: UserTokenIssuer,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    refresh_token: String,
}

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let handler = Arc::new(RefreshHandler {
        users: bootstrap::users(&context).await?,
        sessions: Sessions::new(sessions_table, context.clock.clone()),
        peppers: bootstrap::peppers(&context).await?,
        token_issuer: bootstrap::user_token_issuer(&context).await?,
        mailer: bootstrap::mailer(&context)?,
    });
    let cloudfront = bootstrap::cloudfront(&context).await?;
    Ok(api_gateway::handler(context.clock, cloudfront, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
    }))
}

impl RefreshHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let token: RefreshToken = body.refresh_token.parse().map_err(|_| AuthError::SessionEnded)?;
        match self.sessions.refresh(&token, &self.peppers).await? {
            RefreshOutcome::NotFound => Err(AuthError::SessionEnded),
            RefreshOutcome::ReuseDetected { user_id } => {
                report_session_revoked(&self.users, &self.mailer, user_id, request).await?;
                Err(AuthError::SessionEnded)
            }
            RefreshOutcome::Refreshed {
                user_id,
                signed_in_at,
                successor,
            } => {
                let Some(user) = self.find_active_user(user_id, signed_in_at).await? else {
                    self.sessions.revoke(token.family_id()).await?;
                    return Err(AuthError::SessionEnded);
                };
                let tokens = TokenResponse::new(self.token_issuer.issue(&user).await?, successor);
                Ok(Response::json(StatusCode::OK, &tokens))
            }
        }
    }

    /// Returns `None` when the account was deleted, or when it has revoked all sessions since this one
    /// started.
    async fn find_active_user(
        &self,
        user_id: UserId,
        signed_in_at: Timestamp,
    ) -> Result<Option<User>, AuthError> {
        let Some(status) = self.users.account_status(user_id).await? else {
            return Ok(None);
        };
        if signed_in_at.timestamp_millis() < status.tokens_valid_from.timestamp_millis() {
            return Ok(None);
        }
        Ok(self.users.find_by_id(user_id).await?)
    }
}

/// Tells the user by mail that the reuse of a refresh token has ended a session, and audits it.
pub(super) async fn report_session_revoked(
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
