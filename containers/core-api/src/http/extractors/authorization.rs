//! Authorisation: a handler that needs a permission takes an [`Authorized`] argument and receives the user
//! from it.
//!
//! The OpenAPI document names the same permission as `x-permission`, and the 403 problem names it as
//! `permission`. A test compares the two for every operation and every role.

use std::marker::PhantomData;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use http_server::{Bearer, Problem};
use tokens::{Permission, Role};

use crate::{
    accounts::{AuthenticatedUser, AuthenticationError},
    http::{SharedState, error::database_problem},
    order_service::Buyer,
};

/// A permission as a type, so that a handler's signature can name it.
pub trait RequiredPermission: Send + Sync {
    const PERMISSION: Permission;
}

/// One type per permission.
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
        ManageMailSuppressions,
        AssignRoles,
        ReadAuditLog
    );
}

/// The user who sent the request, and who has the permission `P`.
#[derive(Clone, Debug)]
pub struct Authorized<P>(pub AuthenticatedUser, pub PhantomData<P>);

impl<P: RequiredPermission> FromRequestParts<SharedState> for Authorized<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedState) -> Result<Self, Problem> {
        let forbidden = || {
            let permission =
                serde_json::to_value(P::PERMISSION).expect("a unit variant serialises as a string");
            Problem::forbidden().extension("permission", permission)
        };
        let Bearer(claims) = Bearer::from_request_parts(parts, app).await?;
        // A service has no account.
        if claims.role == Role::Service {
            return Err(forbidden());
        }
        let user = app
            .account_status
            .authenticate(claims)
            .await
            .map_err(|error| match error {
                AuthenticationError::TokenRevoked => Bearer::unauthorized(),
                AuthenticationError::Database(error) => database_problem(&error),
            })?;
        if user.has_permission(P::PERMISSION) {
            Ok(Self(user, PhantomData))
        } else {
            Err(forbidden())
        }
    }
}

/// The user as the buyer of an order. Returns a 422 problem when the user has no e-mail address for order
/// mails.
pub fn require_buyer(user: AuthenticatedUser) -> Result<Buyer, Problem> {
    user.into_buyer().ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "email-required",
            "E-mail address required",
        )
        .detail("The access token has no e-mail address. Order mails need one.")
    })
}
