//! The OpenAPI document of the auth functions.

use openapi::{COMMON_PROBLEMS, add_shared_problems};
use utoipa::OpenApi;

use crate::handlers::{
    email_verify, jwks, login, logout, oauth_callback, oauth_start, password_forgot, password_reset, refresh,
    register,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Matsuri auth", description = "Accounts and sessions."),
    tags((name = "Authentication",
          description = "Registration, sign-in, sessions and the keys of access tokens. The responses state no \
                         rate limit.")),
    components(schemas(openapi::Problem)),
    paths(
        register::register,
        login::login,
        refresh::refresh,
        logout::logout,
        password_forgot::password_forgot,
        password_reset::password_reset,
        email_verify::email_verify,
        oauth_start::oauth_start,
        oauth_callback::oauth_callback,
        jwks::jwks,
        jwks::openid_configuration_document,
    ),
)]
struct ApiDocument;

/// The OpenAPI 3.1 document of the routes that the auth functions serve.
#[must_use]
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    let mut document = ApiDocument::openapi();
    add_shared_problems(&mut document, &COMMON_PROBLEMS);
    document
}
