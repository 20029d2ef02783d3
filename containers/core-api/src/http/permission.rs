//! Who may do what: every handler that is not for anyone asks for a permission, and with it for the person.
//!
//! What a handler asks for stands in its description as `x-permission`, and a refusal names it; a test holds the two
//! against each other for every operation and every role.

use std::marker::PhantomData;

use access_tokens::{Permission, Role};
use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use web::{Bearer, Problem};

use super::{SharedApp, error::database};
use crate::{
    ordering::Buyer,
    people::{Person, Unrecognised},
};

/// A permission as a type, for a handler's signature to name it.
pub trait Need: Send + Sync {
    /// The permission.
    const PERMISSION: Permission;
}

/// The permissions, each as a type.
pub mod needs {
    use access_tokens::Permission;

    macro_rules! needs {
        ($($name:ident),+) => {
            $(
                #[doc = concat!("See [`Permission::", stringify!($name), "`].")]
                #[derive(Clone, Copy, Debug)]
                pub struct $name;

                impl super::Need for $name {
                    const PERMISSION: Permission = Permission::$name;
                }
            )+
        };
    }

    needs!(
        OwnAccount,
        Buy,
        ChangeCatalogue,
        ReadUsers,
        ChangeRoles,
        ReadAudit
    );
}

/// A person who may do what `N` says.
#[derive(Clone, Debug)]
pub struct May<N>(pub Person, pub PhantomData<N>);

impl<N: Need> FromRequestParts<SharedApp> for May<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        let forbidden = || {
            let permission = serde_json::to_value(N::PERMISSION).unwrap_or_default();
            Problem::forbidden().with("permission", permission)
        };
        let Bearer(claims) = Bearer::from_request_parts(parts, app).await?;
        // A program has no account.
        if claims.role == Role::Service {
            return Err(forbidden());
        }
        let person = app
            .standings
            .recognise(claims)
            .await
            .map_err(|error| match error {
                Unrecognised::NotAdmitted => Bearer::refused(),
                Unrecognised::Database(error) => database(&error),
            })?;
        if person.may(N::PERMISSION) {
            Ok(Self(person, PhantomData))
        } else {
            Err(forbidden())
        }
    }
}

/// The person as the buyer of an order, which needs an address for its mail.
pub fn buyer(person: Person) -> Result<Buyer, Problem> {
    person.into_buyer().ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "email-required",
            "An e-mail address is needed",
        )
        .detail("The access token names no e-mail address, and mail about an order must go somewhere.")
    })
}
