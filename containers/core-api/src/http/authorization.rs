//! Who may do what: every handler that is not for anyone asks for a permission, and with it for the person.
//!
//! What a handler asks for stands in its description as `x-permission`, and a refusal names it; a test holds the two
//! against each other for every operation and every role.

use std::marker::PhantomData;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use http_server::{Bearer, Problem};
use tokens::{Permission, Role};

use super::{SharedState, error::database_problem};
use crate::{
    accounts::{AuthenticatedUser, AuthenticationError},
    order_service::Buyer,
};

/// A permission as a type, for a handler's signature to name it.
pub trait RequiredPermission: Send + Sync {
    /// The permission.
    const PERMISSION: Permission;
}

/// The permissions, each as a type.
pub mod permission {
    use tokens::Permission;

    macro_rules! permission_types {
        ($($name:ident),+) => {
            $(
                #[doc = concat!("See [`Permission::", stringify!($name), "`].")]
                #[derive(Clone, Copy, Debug)]
                pub struct $name;

                impl super::RequiredPermission for $name {
                    const PERMISSION: Permission = Permission::$name;
                }
            )+
        };
    }

    permission_types!(
        ManageOwnAccount,
        PlaceOrders,
        ManageCatalog,
        ReadUsers,
        AssignRoles,
        ReadAuditLog
    );
}

/// A person who may do what `N` says.
#[derive(Clone, Debug)]
pub struct Authorized<N>(pub AuthenticatedUser, pub PhantomData<N>);

impl<N: RequiredPermission> FromRequestParts<SharedState> for Authorized<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedState) -> Result<Self, Problem> {
        let forbidden = || {
            let permission = serde_json::to_value(N::PERMISSION).unwrap_or_default();
            Problem::forbidden().extension("permission", permission)
        };
        let Bearer(claims) = Bearer::from_request_parts(parts, app).await?;
        // A program has no account.
        if claims.role == Role::Service {
            return Err(forbidden());
        }
        let person = app
            .account_status
            .authenticate(claims)
            .await
            .map_err(|error| match error {
                AuthenticationError::TokenRevoked => Bearer::unauthorized(),
                AuthenticationError::Database(error) => database_problem(&error),
            })?;
        if person.has_permission(N::PERMISSION) {
            Ok(Self(person, PhantomData))
        } else {
            Err(forbidden())
        }
    }
}

/// The person as the buyer of an order, which needs an address for its mail.
pub fn require_buyer(person: AuthenticatedUser) -> Result<Buyer, Problem> {
    person.into_buyer().ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "email-required",
            "E-mail address required",
        )
        .detail("The access token has no e-mail address. Order mails need one.")
    })
}
