//! `register`: takes a new person in. The answer is the same, and takes as long, whether the address is new or not;
//! its owner gets a mail in either case.

use std::sync::Arc;

use axum::http::StatusCode;
use events::AccountMail;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{Credential, NewUser, Registration, User, Users};

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    email_link::{EmailLinks, LinkPurpose},
    login_throttle::LoginThrottle,
    mailer::Mailer,
    validation,
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

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let register = Arc::new(RegisterHandler {
        users: bootstrap::users(&init).await?,
        email_links: bootstrap::email_links(&init, store.clone()),
        throttle: bootstrap::login_throttle(&init, store)?,
        mailer: bootstrap::mailer(&init)?,
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let register = Arc::clone(&register);
        async move { register.handle(&request).await }
    }))
}

impl RegisterHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let asked = validation::validate_registration(&body.email, &body.name, &body.password)?;
        let new = NewUser {
            credential: Credential::PasswordHash(asked.password.hash()?),
            email: asked.email,
            name: asked.name,
        };
        let may_mail = self.throttle.check_mail_quota(new.email.as_str()).await?;
        match self.users.register(&new, request.traceparent).await? {
            Registration::Created(user) => self.send_welcome(&user, request).await?,
            Registration::AlreadyRegistered(user) => {
                self.send_already_registered(&user, may_mail, request).await?
            }
        }
        let answer = json!({"detail": "We have sent a mail that says how to go on."});
        Ok(Response::json(StatusCode::ACCEPTED, &answer))
    }

    async fn send_welcome(&self, user: &User, request: &Request) -> Result<(), AuthError> {
        let token = self
            .email_links
            .create(LinkPurpose::VerifyEmail, user.id, &user.email)
            .await?;
        let welcome = AccountMail::Welcome { token };
        self.mailer.send(user, welcome, request).await;
        audit::record(
            &self.users,
            request,
            "registered",
            Some(user.id),
            Some(user.id),
            json!({}),
        )
        .await;
        Ok(())
    }

    /// Tells the owner that somebody tried, themselves perhaps.
    async fn send_already_registered(
        &self,
        user: &User,
        may_mail: bool,
        request: &Request,
    ) -> Result<(), AuthError> {
        // A link that nobody gets: it takes as long to make as the one of a new person.
        self.email_links
            .create(LinkPurpose::VerifyEmail, user.id, "")
            .await?;
        if may_mail {
            let warning = AccountMail::RegistrationRepeated;
            self.mailer.send(user, warning, request).await;
        } else {
            self.mailer.send_decoy(request).await;
        }
        let action = "duplicate_registration";
        audit::record(&self.users, request, action, None, Some(user.id), json!({})).await;
        Ok(())
    }
}
