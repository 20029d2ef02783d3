//! `email-verify`: `{"token"}` shows that an address is its reader's own; `{"email"}` has such a link sent once more.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::UserId;
use events::AccountMail;
use lambda_shared::{Handler, Init, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;
use uuid::Uuid;
use web::FieldError;

use crate::{
    AuthError, fields,
    guard::Guard,
    http::{self, Reply, Request},
    journal,
    links::{Links, Purpose},
    mailer::Mailer,
    start,
};

struct EmailVerify {
    users: Users,
    links: Links,
    guard: Guard,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    token: Option<String>,
    email: Option<String>,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let verify = Arc::new(EmailVerify {
        users: start::users(&init).await?,
        links: start::links(&init, store.clone()),
        guard: start::guard(&init, store)?,
        mailer: start::mailer(&init)?,
    });
    Ok(http::handler(init.clock, move |request| {
        let verify = Arc::clone(&verify);
        async move { verify.answer(&request).await }
    }))
}

impl EmailVerify {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let body: Body = request.json()?;
        match (body.token, body.email) {
            (Some(token), None) => self.verify(&token, request).await,
            (None, Some(email)) => self.send(&email, request).await,
            _ => Err(AuthError::Invalid(vec![FieldError {
                pointer: String::new(),
                detail: "give either the `token` of a link or the `email` to send one to".to_owned(),
            }])),
        }
    }

    async fn verify(&self, token: &str, request: &Request) -> Result<Reply, AuthError> {
        let link = self.links.take(Purpose::Verify, token).await?;
        let link = link.ok_or(AuthError::Link)?;
        let user = self.users.account(link.user_id).await?;
        let user = user
            .filter(|user| link.speaks_for(&user.email))
            .ok_or(AuthError::Link)?;
        if !self.users.verify_address(user.id, &user.email).await? {
            return Err(AuthError::Link);
        }
        let who = Some(user.id);
        journal::note(&self.users, request, "email_verified", who, who, json!({})).await;
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    /// The same answer, after the same work, whether the address is somebody's or not.
    async fn send(&self, email: &str, request: &Request) -> Result<Reply, AuthError> {
        let email = fields::email(email)?;
        let may_mail = self.guard.may_mail(email.as_str()).await?;
        let found = self.users.find_by_email(&email).await?.map(|found| found.user);
        match found.filter(|user| may_mail && user.email_verified_at.is_none()) {
            Some(user) => {
                let token = self.links.issue(Purpose::Verify, user.id, &user.email).await?;
                let link = AccountMail::VerifyAddress { token };
                self.mailer.tell(&user, link, request).await;
            }
            None => {
                self.links.issue(Purpose::Verify, UserId(Uuid::nil()), "").await?;
                self.mailer.tell_nobody(request).await;
            }
        }
        let answer = json!({"detail": "If the address waits for it, a mail is on its way."});
        Ok(Reply::json(StatusCode::ACCEPTED, &answer))
    }
}
