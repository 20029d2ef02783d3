//! Who asks and under which conditions, taken from a request's headers.

use access_tokens::Role;
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, request::Parts},
};
use domain::UserId;
use headers::{ETag, HeaderMapExt, IfMatch};
use web::{Bearer, Problem};

use crate::{catalogue::Product, ordering::Buyer};

/// A person who is signed in.
#[derive(Clone, Debug)]
pub struct Customer {
    /// Who.
    pub id: UserId,
    email: Option<String>,
}

impl Customer {
    /// The customer as the buyer of an order, which needs an address for its mail.
    pub fn into_buyer(self) -> Result<Buyer, Problem> {
        let email = self.email.ok_or_else(|| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "email-required",
                "An e-mail address is needed",
            )
            .detail("The access token names no e-mail address, and mail about an order must go somewhere.")
        })?;
        Ok(Buyer { id: self.id, email })
    }
}

impl<S> FromRequestParts<S> for Customer
where
    S: Send + Sync,
    access_tokens::Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Bearer(claims) = Bearer::from_request_parts(parts, state).await?;
        match (claims.role, claims.sub.parse()) {
            // Whoever works for the shop may buy in it.
            (Role::Customer | Role::Support | Role::Admin, Ok(id)) => Ok(Self {
                id,
                email: claims.email,
            }),
            _ => Err(Problem::forbidden()),
        }
    }
}

/// A person who runs the shop.
#[derive(Clone, Copy, Debug)]
pub struct Admin;

impl<S> FromRequestParts<S> for Admin
where
    S: Send + Sync,
    access_tokens::Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Bearer(claims) = Bearer::from_request_parts(parts, state).await?;
        if claims.role == Role::Admin {
            Ok(Self)
        } else {
            Err(Problem::forbidden())
        }
    }
}

/// The name that a customer gives an attempt, so that a repetition is known for one.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let refused = || {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency-key-required",
                "An Idempotency-Key is needed",
            )
            .detail("Send one header Idempotency-Key with 1 to 255 printable ASCII characters.")
        };
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(refused());
        };
        // `to_str` lets visible ASCII and tabs through.
        match key.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) && !key.contains('\t') => Ok(Self(key.to_owned())),
            _ => Err(refused()),
        }
    }
}

/// The version of a product that a change was decided on.
#[derive(Clone, Debug)]
pub struct Expected(IfMatch);

impl Expected {
    /// Refuses to go on when the product is another by now.
    pub fn check(&self, product: &Product) -> Result<(), Problem> {
        if self.0.precondition_passes(&etag(product)) {
            Ok(())
        } else {
            Err(outdated())
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Expected {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.headers.typed_get().map(Self).ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if-match-required",
                "If-Match is needed",
            )
            .detail("Send the ETag of the product that the change was decided on in the header If-Match.")
        })
    }
}

/// 412: somebody else was faster.
pub fn outdated() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "outdated",
        "The product has changed",
    )
    .detail("Read it again, and decide again.")
}

/// A product's version as its entity tag.
pub fn etag(product: &Product) -> ETag {
    format!("\"{}\"", product.version)
        .parse()
        .expect("digits in quotes are an entity tag")
}
