//! `register`: takes a new person in. The answer is the same, and takes as long, whether the address is new or not;
//! its owner gets a mail in either case.

use std::sync::Arc;

use axum::http::StatusCode;
use events::AccountMail;
use lambda_shared::{Handler, Init, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{Key, NewUser, Registered, User, Users};

use crate::{
    AuthError, fields,
    guard::Guard,
    http::{self, Reply, Request},
    journal,
    links::{Links, Purpose},
    mailer::Mailer,
    start,
};

struct Register {
    users: Users,
    links: Links,
    guard: Guard,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    email: String,
    password: String,
    name: String,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let register = Arc::new(Register {
        users: start::users(&init).await?,
        links: start::links(&init, store.clone()),
        guard: start::guard(&init, store)?,
        mailer: start::mailer(&init)?,
    });
    Ok(http::handler(init.clock, move |request| {
        let register = Arc::clone(&register);
        async move { register.answer(&request).await }
    }))
}

impl Register {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let body: Body = request.json()?;
        let asked = fields::registration(&body.email, &body.name, &body.password)?;
        let new = NewUser {
            key: Key::Password(asked.password.hash()?),
            email: asked.email,
            name: asked.name,
        };
        let may_mail = self.guard.may_mail(new.email.as_str()).await?;
        match self.users.register(&new, request.trace).await? {
            Registered::New(user) => self.welcome(&user, request).await?,
            Registered::Taken(user) => self.warn(&user, may_mail, request).await?,
        }
        let answer = json!({"detail": "We have sent a mail that says how to go on."});
        Ok(Reply::json(StatusCode::ACCEPTED, &answer))
    }

    async fn welcome(&self, user: &User, request: &Request) -> Result<(), AuthError> {
        let token = self.links.issue(Purpose::Verify, user.id, &user.email).await?;
        let welcome = AccountMail::Welcome { token };
        self.mailer.tell(user, welcome, request).await;
        journal::note(
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
    async fn warn(&self, user: &User, may_mail: bool, request: &Request) -> Result<(), AuthError> {
        // A link that nobody gets: it takes as long to make as the one of a new person.
        self.links.issue(Purpose::Verify, user.id, "").await?;
        if may_mail {
            let warning = AccountMail::RegistrationRepeated;
            self.mailer.tell(user, warning, request).await;
        } else {
            self.mailer.tell_nobody(request).await;
        }
        let action = "registration_repeated";
        journal::note(&self.users, request, action, None, Some(user.id), json!({})).await;
        Ok(())
    }
}
