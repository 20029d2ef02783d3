//! `password-reset`: replaces the password, with the link that `password-forgot` has sent.
//!
//! A reset ends all sessions of the user and invalidates all their other reset links.

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
    password, validation,
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

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    password::warm_up_strength_estimator();
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let handler = Arc::new(PasswordResetHandler {
        users: bootstrap::users(&context).await?,
        email_links: bootstrap::email_links(&context, sessions_table.clone()),
        throttle: bootstrap::login_throttle(&context, sessions_table)?,
        mailer: bootstrap::mailer(&context)?,
    });
    let cloudfront = bootstrap::cloudfront(&context).await?;
    Ok(api_gateway::handler(context.clock, cloudfront, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
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
        // The link is consumed only after the new password has passed the policy, so the user can try another
        // one.
        let password_hash = hash_new_password(&user, &body.password)?;
        self.email_links
            .consume(LinkPurpose::ResetPassword, &body.token)
            .await?
            .ok_or(AuthError::InvalidLink)?;
        if !self
            .users
            .change_password(user.id, &password_hash, Some(&user.email))
            .await?
        {
            return Err(AuthError::InvalidLink);
        }

        self.throttle.trust_ip(&user.email, &request.client_ip).await?;
        self.mailer
            .send(&user, AccountMail::PasswordChanged, request)
            .await;
        let user_id = Some(user.id);
        audit::record(
            &self.users,
            request,
            "password_reset",
            user_id,
            user_id,
            json!({}),
        )
        .await;
        Ok(Response::empty(StatusCode::NO_CONTENT))
    }

    /// The user that the link was sent to. Returns `None` when the link is no longer valid for the account.
    async fn find_recipient(&self, link: &EmailLink) -> Result<Option<User>, AuthError> {
        let Some(status) = self.users.account_status(link.user_id).await? else {
            return Ok(None);
        };
        // The password was changed after the link was sent, for example with another link.
        if link.sent_at.timestamp_millis() < status.tokens_valid_from.timestamp_millis() {
            return Ok(None);
        }
        let user = self.users.find_by_id(link.user_id).await?;
        Ok(user.filter(|user| link.matches_email(&user.email)))
    }
}

fn hash_new_password(user: &User, password: &str) -> Result<String, AuthError> {
    let Ok(email) = EmailAddress::parse(&user.email) else {
        return Err(AuthError::InvalidLink);
    };
    // The policy only compares the password with the name, so a name from before today's name rules is
    // replaced.
    let name = DisplayName::parse(&user.name)
        .unwrap_or_else(|_| DisplayName::parse("-").expect("a hyphen is a valid name"));
    Ok(validation::validate_password(password, &email, &name)?.hash()?)
}
