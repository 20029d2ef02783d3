//! `register`: creates an account with a password.
//!
//! The response and its duration are the same whether the e-mail address is new or not. Its owner gets a mail
//! in both cases.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::UserId;
use events::AccountMail;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{Credential, NewUser, Registration, User, Users};
use uuid::Uuid;

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    email_link::{EmailLinks, LinkPurpose},
    login_throttle::LoginThrottle,
    mailer::Mailer,
    password, validation,
};

struct RegisterHandler {
    users: Users,
    email_links: EmailLinks,
    throttle: LoginThrottle,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    email: String,
    password: String,
    name: String,
}

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    password::warm_up_strength_estimator();
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let handler = Arc::new(RegisterHandler {
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

impl RegisterHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let valid = validation::validate_registration(&body.email, &body.name, &body.password)?;
        let new_user = NewUser {
            credential: Credential::PasswordHash(valid.password.hash()?),
            email: valid.email,
            name: valid.name,
        };
        let has_mail_quota = self.throttle.check_mail_quota(new_user.email.as_str()).await?;
        match self.users.register(&new_user, request.traceparent).await? {
            Registration::Created(user) => self.send_welcome(&user, request).await?,
            Registration::AlreadyRegistered(user) => {
                self.send_already_registered(Some(&user), has_mail_quota, request)
                    .await?;
            }
            Registration::Conflict => {
                self.send_already_registered(None, has_mail_quota, request)
                    .await?;
            }
        }
        let body = json!({"detail": "We have sent a mail with instructions."});
        Ok(Response::json(StatusCode::ACCEPTED, &body))
    }

    async fn send_welcome(&self, user: &User, request: &Request) -> Result<(), AuthError> {
        let token = self
            .email_links
            .create(LinkPurpose::VerifyEmail, user.id, &user.email)
            .await?;
        self.mailer
            .send(user, AccountMail::Welcome { token }, request)
            .await;
        let user_id = Some(user.id);
        audit::record(&self.users, request, "registered", user_id, user_id, json!({})).await;
        Ok(())
    }

    /// Tells the owner of the e-mail address that a registration has used it again. `user` is `None` when the
    /// account was deleted meanwhile.
    async fn send_already_registered(
        &self,
        user: Option<&User>,
        has_mail_quota: bool,
        request: &Request,
    ) -> Result<(), AuthError> {
        // This link is never sent. Its creation takes as long as that of the link to a new user.
        let user_id = user.map(|user| user.id);
        let link_user_id = user_id.unwrap_or(UserId(Uuid::nil()));
        self.email_links
            .create(LinkPurpose::VerifyEmail, link_user_id, "")
            .await?;
        match user.filter(|_| has_mail_quota) {
            Some(user) => {
                let mail = AccountMail::RegistrationRepeated;
                self.mailer.send(user, mail, request).await;
            }
            None => self.mailer.send_decoy(request).await,
        }
        let action = "duplicate_registration";
        audit::record(&self.users, request, action, None, user_id, json!({})).await;
        Ok(())
    }
}
