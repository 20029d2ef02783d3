//! `refresh`: exchanges the refresh token of a session for new tokens.
//!
//! The reuse of an old refresh token ends the session, and the user gets a mail about it.

use std::sync::Arc;

use axum::{Router, extract::State};
use domain::{Timestamp, UserId};
use events::AccountMail;
use http_server::Json;
use lambda_shared::{FunctionContext, InitError};
use secrets::Secret;
use serde::Deserialize;
use serde_json::json;
use users::{User, Users};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AuthError,
    access_token::UserTokenIssuer,
    audit, bootstrap,
    http::RequestContext,
    mailer::Mailer,
    sessions::{Peppers, RefreshOutcome, RefreshToken, Sessions, TokenResponse},
};

pub(crate) struct RefreshState {
    users: Users,
    sessions: Sessions,
    peppers: Secret<Peppers>,
    token_issuer: UserTokenIssuer,
    mailer: Mailer,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    refresh_token: String,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    let sessions_table = bootstrap::sessions_table(context).await?;
    let state = Arc::new(RefreshState {
        users: bootstrap::users(context).await?,
        sessions: Sessions::new(sessions_table, context.clock.clone()),
        peppers: bootstrap::peppers(context).await?,
        token_issuer: bootstrap::user_token_issuer(context).await?,
        mailer: bootstrap::mailer(context)?,
    });
    Ok(OpenApiRouter::new()
        .routes(routes!(refresh))
        .with_state(state)
        .into())
}

/// Exchanges a refresh token for new tokens.
///
/// A refresh token is valid once. Within 10 seconds, the same token gets the same successor again; its later
/// use ends the session.
#[utoipa::path(
    post, path = "/v1/auth/refresh", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "The tokens of the session", body = TokenResponse),
        (status = 401, description = "`session-ended`: the refresh token is not valid",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn refresh(
    State(state): State<Arc<RefreshState>>,
    context: RequestContext,
    Json(body): Json<RefreshRequest>,
) -> Result<Json<TokenResponse>, AuthError> {
    let token: RefreshToken = body.refresh_token.parse().map_err(|_| AuthError::SessionEnded)?;
    match state.sessions.refresh(&token, &state.peppers).await? {
        RefreshOutcome::NotFound => Err(AuthError::SessionEnded),
        RefreshOutcome::ReuseDetected { user_id } => {
            report_session_revoked(&state.users, &state.mailer, user_id, &context).await?;
            Err(AuthError::SessionEnded)
        }
        RefreshOutcome::Refreshed {
            user_id,
            signed_in_at,
            successor,
        } => {
            let Some(user) = state.find_active_user(user_id, signed_in_at).await? else {
                state.sessions.revoke(token.family_id()).await?;
                return Err(AuthError::SessionEnded);
            };
            let tokens = TokenResponse::new(state.token_issuer.issue(&user).await?, successor);
            Ok(Json(tokens))
        }
    }
}

impl RefreshState {
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
    context: &RequestContext,
) -> Result<(), AuthError> {
    audit::record(users, context, "session_revoked", None, Some(user_id), json!({})).await;
    if let Some(user) = users.find_by_id(user_id).await? {
        mailer.send(&user, AccountMail::SessionRevoked, context).await;
    }
    Ok(())
}
