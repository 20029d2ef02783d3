//! `password-reset`: another password for whoever has the link. Everything that was signed in before is not any
//! more, and every other link is good for nothing.

use std::sync::Arc;

use axum::http::StatusCode;
use events::AccountMail;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{DisplayName, EmailAddress, User, Users};

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    email_link::{EmailLink, EmailLinks, LinkPurpose},
    login_throttle::LoginThrottle,
    mailer::Mailer,
    validation,
};

struct PasswordResetHandler {
    users: Users,
    email_links: EmailLinks,
    throttle: LoginThrottle,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    token: String,
    password: String,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let reset = Arc::new(PasswordResetHandler {
        users: bootstrap::users(&init).await?,
        email_links: bootstrap::email_links(&init, store.clone()),
        throttle: bootstrap::login_throttle(&init, store)?,
        mailer: bootstrap::mailer(&init)?,
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let reset = Arc::clone(&reset);
        async move { reset.handle(&request).await }
    }))
}

impl PasswordResetHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let link = self
            .email_links
            .find(LinkPurpose::ResetPassword, &body.token)
            .await?;
        let user = match link {
            Some(link) => self.find_recipient(&link).await?,
            None => None,
        };
        let user = user.ok_or(AuthError::InvalidLink)?;
        // A password that is refused leaves the link as it is, for another try.
        let hash = hash_new_password(&user, &body.password)?;
        let taken = self
            .email_links
            .consume(LinkPurpose::ResetPassword, &body.token)
            .await?;
        taken.ok_or(AuthError::InvalidLink)?;
        if !self
            .users
            .change_password(user.id, &hash, Some(&user.email))
            .await?
        {
            return Err(AuthError::InvalidLink);
        }

        self.throttle.trust_ip(&user.email, &request.client_ip).await?;
        self.mailer
            .send(&user, AccountMail::PasswordChanged, request)
            .await;
        let who = Some(user.id);
        audit::record(&self.users, request, "password_reset", who, who, json!({})).await;
        Ok(Response::empty(StatusCode::NO_CONTENT))
    }

    /// The person that the link was sent to, if it still speaks for them.
    async fn find_recipient(&self, link: &EmailLink) -> Result<Option<User>, AuthError> {
        let Some(standing) = self.users.account_status(link.user_id).await? else {
            return Ok(None);
        };
        // The password has changed since, by another link perhaps.
        if link.sent_at < standing.tokens_valid_from.timestamp_millis() {
            return Ok(None);
        }
        let user = self.users.find_by_id(link.user_id).await?;
        Ok(user.filter(|user| link.matches_email(&user.email)))
    }
}

fn hash_new_password(user: &User, text: &str) -> Result<String, AuthError> {
    // Whatever an older rule let through is good enough to be compared with.
    let Ok(email) = EmailAddress::parse(&user.email) else {
        return Err(AuthError::InvalidLink);
    };
    let name = DisplayName::parse(&user.name).or_else(|_| DisplayName::parse("-"));
    let Ok(name) = name else {
        return Err(AuthError::InvalidLink);
    };
    Ok(validation::validate_password(text, &email, &name)?.hash()?)
}
