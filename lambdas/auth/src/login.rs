//! `login`: a session for an address and its password. Who does not know the password learns nothing, not even
//! whether there is an account.

use std::sync::Arc;

use axum::http::StatusCode;
use lambda_shared::{Handler, Init, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;

use crate::{
    AuthError,
    access::Issuer,
    fields,
    guard::{Admission, Guard},
    http::{self, Reply, Request},
    journal, password,
    sessions::Sessions,
    start,
    tokens::Tokens,
};

struct Login {
    users: Users,
    guard: Guard,
    sessions: Sessions,
    issuer: Issuer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    email: String,
    password: String,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let login = Arc::new(Login {
        users: start::users(&init).await?,
        guard: start::guard(&init, store.clone())?,
        sessions: start::sessions(&init, store).await?,
        issuer: start::issuer(&init).await?,
    });
    Ok(http::handler(init.clock, move |request| {
        let login = Arc::clone(&login);
        async move { login.answer(&request).await }
    }))
}

impl Login {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let body: Body = request.json()?;
        let email = fields::email(&body.email)?;
        let permit = match self.guard.admit(email.as_str(), &request.address).await? {
            Admission::Now(permit) => permit,
            Admission::Wait(wait) => {
                let details = json!({"reason": "too_many_tries"});
                journal::note(&self.users, request, "login_refused", None, None, details).await;
                return Err(AuthError::Wait(wait));
            }
        };
        let found = self.users.find_by_email(&email).await?;
        let kept = found.as_ref().and_then(|found| found.password_hash.as_deref());
        let right = password::verify(&body.password, kept)?;
        let subject = found.as_ref().map(|found| found.user.id);
        let Some(found) = found.filter(|_| right) else {
            let details = json!({"reason": "wrong_credentials"});
            journal::note(&self.users, request, "login_refused", None, subject, details).await;
            return Err(AuthError::Credentials);
        };

        self.guard.succeeded(permit).await?;
        let refresh_token = self.sessions.begin(found.user.id).await?;
        let access_token = self.issuer.issue(&found.user).await?;
        journal::note(&self.users, request, "login", subject, subject, json!({})).await;
        let tokens = Tokens::new(access_token, refresh_token);
        Ok(Reply::json(StatusCode::OK, &tokens))
    }
}
