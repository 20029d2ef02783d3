//! `logout`: ends a session, or all that its person has. Whatever the token, there is nothing more to say than
//! that it is good for nothing any more.

use std::sync::Arc;

use axum::http::StatusCode;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    mailer::Mailer,
    refresh::report_session_revoked,
    refresh_token::RefreshToken,
    sessions::{LogoutOutcome, Sessions},
};

struct LogoutHandler {
    users: Users,
    sessions: Sessions,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    refresh_token: String,
    /// On all devices.
    #[serde(default)]
    everywhere: bool,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let logout = Arc::new(LogoutHandler {
        users: bootstrap::users(&init).await?,
        sessions: bootstrap::sessions(&init, store).await?,
        mailer: bootstrap::mailer(&init)?,
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let logout = Arc::clone(&logout);
        async move { logout.handle(&request).await }
    }))
}

impl LogoutHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let done = Response::empty(StatusCode::NO_CONTENT);
        let Ok(token) = body.refresh_token.parse::<RefreshToken>() else {
            return Ok(done);
        };
        // Before the session ends: what fails here is tried again with the same token.
        if body.everywhere
            && let Some(user_id) = self.sessions.owner(&token).await?
        {
            self.users.revoke_tokens(user_id).await?;
        }
        match self.sessions.logout(&token).await? {
            None => {}
            Some(LogoutOutcome {
                user_id,
                reuse_detected: true,
            }) => {
                report_session_revoked(&self.users, &self.mailer, user_id, request).await?;
            }
            Some(LogoutOutcome {
                user_id,
                reuse_detected: false,
            }) => {
                let (who, details) = (Some(user_id), json!({"everywhere": body.everywhere}));
                audit::record(&self.users, request, "logout", who, who, details).await;
            }
        }
        Ok(done)
    }
}
