//! `logout`: ends a session, or all that its person has. Whatever the token, there is nothing more to say than
//! that it is good for nothing any more.

use std::sync::Arc;

use axum::http::StatusCode;
use lambda_shared::{Handler, Init, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;

use crate::{
    AuthError,
    http::{self, Reply, Request},
    journal,
    mailer::Mailer,
    refresh::revoked,
    refresh_token::RefreshToken,
    sessions::{Left, Sessions},
    start,
};

struct Logout {
    users: Users,
    sessions: Sessions,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    refresh_token: String,
    /// On all devices.
    #[serde(default)]
    everywhere: bool,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let logout = Arc::new(Logout {
        users: start::users(&init).await?,
        sessions: start::sessions(&init, store).await?,
        mailer: start::mailer(&init)?,
    });
    Ok(http::handler(init.clock, move |request| {
        let logout = Arc::clone(&logout);
        async move { logout.answer(&request).await }
    }))
}

impl Logout {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let body: Body = request.json()?;
        let done = Reply::empty(StatusCode::NO_CONTENT);
        let Ok(token) = body.refresh_token.parse::<RefreshToken>() else {
            return Ok(done);
        };
        // Before the session ends: what fails here is tried again with the same token.
        if body.everywhere
            && let Some(user_id) = self.sessions.owner(&token).await?
        {
            self.users.revoke_tokens(user_id).await?;
        }
        match self.sessions.leave(&token).await? {
            None => {}
            Some(Left {
                user_id,
                stolen: true,
            }) => {
                revoked(&self.users, &self.mailer, user_id, request).await?;
            }
            Some(Left {
                user_id,
                stolen: false,
            }) => {
                let (who, details) = (Some(user_id), json!({"everywhere": body.everywhere}));
                journal::note(&self.users, request, "logout", who, who, details).await;
            }
        }
        Ok(done)
    }
}
