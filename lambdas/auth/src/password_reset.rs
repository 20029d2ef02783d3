//! `password-reset`: another password for whoever has the link. Everything that was signed in before is not any
//! more, and every other link is good for nothing.

use std::sync::Arc;

use axum::http::StatusCode;
use events::AccountMail;
use lambda_shared::{Handler, Init, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{EmailAddress, PersonName, User, Users};

use crate::{
    AuthError, fields,
    guard::Guard,
    http::{self, Reply, Request},
    journal,
    links::{Link, Links, Purpose},
    mailer::Mailer,
    start,
};

struct PasswordReset {
    users: Users,
    links: Links,
    guard: Guard,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    token: String,
    password: String,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let reset = Arc::new(PasswordReset {
        users: start::users(&init).await?,
        links: start::links(&init, store.clone()),
        guard: start::guard(&init, store)?,
        mailer: start::mailer(&init)?,
    });
    Ok(http::handler(init.clock, move |request| {
        let reset = Arc::clone(&reset);
        async move { reset.answer(&request).await }
    }))
}

impl PasswordReset {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let body: Body = request.json()?;
        let link = self.links.find(Purpose::Reset, &body.token).await?;
        let user = match link {
            Some(link) => self.reader(&link).await?,
            None => None,
        };
        let user = user.ok_or(AuthError::Link)?;
        // A password that is refused leaves the link as it is, for another try.
        let hash = new_password(&user, &body.password)?;
        let taken = self.links.take(Purpose::Reset, &body.token).await?;
        taken.ok_or(AuthError::Link)?;
        if !self
            .users
            .change_password(user.id, &hash, Some(&user.email))
            .await?
        {
            return Err(AuthError::Link);
        }

        self.guard.welcome(&user.email, &request.address).await?;
        self.mailer
            .tell(&user, AccountMail::PasswordChanged, request)
            .await;
        let who = Some(user.id);
        journal::note(&self.users, request, "password_reset", who, who, json!({})).await;
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    /// The person that the link was sent to, if it still speaks for them.
    async fn reader(&self, link: &Link) -> Result<Option<User>, AuthError> {
        let Some(standing) = self.users.standing(link.user_id).await? else {
            return Ok(None);
        };
        // The password has changed since, by another link perhaps.
        if link.sent_at < standing.tokens_valid_from.timestamp_millis() {
            return Ok(None);
        }
        let user = self.users.account(link.user_id).await?;
        Ok(user.filter(|user| link.speaks_for(&user.email)))
    }
}

fn new_password(user: &User, text: &str) -> Result<String, AuthError> {
    // Whatever an older rule let through is good enough to be compared with.
    let Ok(email) = EmailAddress::parse(&user.email) else {
        return Err(AuthError::Link);
    };
    let name = PersonName::parse(&user.name).or_else(|_| PersonName::parse("-"));
    let Ok(name) = name else {
        return Err(AuthError::Link);
    };
    Ok(fields::password(text, &email, &name)?.hash()?)
}
