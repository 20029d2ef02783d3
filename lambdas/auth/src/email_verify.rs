//! `email-verify`: `{"token"}` shows that an address is its reader's own; `{"email"}` has such a link sent once more.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::UserId;
use events::AccountMail;
use http_server::FieldError;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;
use uuid::Uuid;

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    email_link::{EmailLinks, LinkPurpose},
    login_throttle::LoginThrottle,
    mailer::Mailer,
    validation,
};

struct EmailVerifyHandler {
    users: Users,
    email_links: EmailLinks,
    throttle: LoginThrottle,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    token: Option<String>,
    email: Option<String>,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let verify = Arc::new(EmailVerifyHandler {
        users: bootstrap::users(&init).await?,
        email_links: bootstrap::email_links(&init, store.clone()),
        throttle: bootstrap::login_throttle(&init, store)?,
        mailer: bootstrap::mailer(&init)?,
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let verify = Arc::clone(&verify);
        async move { verify.handle(&request).await }
    }))
}

impl EmailVerifyHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        match (body.token, body.email) {
            (Some(token), None) => self.verify_email(&token, request).await,
            (None, Some(email)) => self.resend_link(&email, request).await,
            _ => Err(AuthError::InvalidBody(vec![FieldError {
                pointer: String::new(),
                detail: "give either the `token` of a link or the `email` to send one to".to_owned(),
            }])),
        }
    }

    async fn verify_email(&self, token: &str, request: &Request) -> Result<Response, AuthError> {
        let link = self.email_links.consume(LinkPurpose::VerifyEmail, token).await?;
        let link = link.ok_or(AuthError::InvalidLink)?;
        let user = self.users.find_by_id(link.user_id).await?;
        let user = user
            .filter(|user| link.matches_email(&user.email))
            .ok_or(AuthError::InvalidLink)?;
        if !self.users.mark_email_verified(user.id, &user.email).await? {
            return Err(AuthError::InvalidLink);
        }
        let who = Some(user.id);
        audit::record(&self.users, request, "email_verified", who, who, json!({})).await;
        Ok(Response::empty(StatusCode::NO_CONTENT))
    }

    /// The same answer, after the same work, whether the address is somebody's or not.
    async fn resend_link(&self, email: &str, request: &Request) -> Result<Response, AuthError> {
        let email = validation::validate_email(email)?;
        let may_mail = self.throttle.check_mail_quota(email.as_str()).await?;
        let found = self.users.find_by_email(&email).await?.map(|found| found.user);
        match found.filter(|user| may_mail && user.email_verified_at.is_none()) {
            Some(user) => {
                let token = self
                    .email_links
                    .create(LinkPurpose::VerifyEmail, user.id, &user.email)
                    .await?;
                let link = AccountMail::VerifyAddress { token };
                self.mailer.send(&user, link, request).await;
            }
            None => {
                self.email_links
                    .create(LinkPurpose::VerifyEmail, UserId(Uuid::nil()), "")
                    .await?;
                self.mailer.send_decoy(request).await;
            }
        }
        let answer = json!({"detail": "If the address waits for it, a mail is on its way."});
        Ok(Response::json(StatusCode::ACCEPTED, &answer))
    }
}
