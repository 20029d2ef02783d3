//! The entry point of all auth functions. The variable `_HANDLER` selects the function that this process
//! runs.

use std::process::ExitCode;

use auth::{
    handlers::{
        email_verify, jwks, login, logout, oauth_callback, oauth_start, password_forgot, password_reset,
        refresh, register,
    },
    http,
};
use lambda_shared::FunctionRegistry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("register", |context| http::function(context, register::routes))
        .register("login", |context| http::function(context, login::routes))
        .register("refresh", |context| http::function(context, refresh::routes))
        .register("logout", |context| http::function(context, logout::routes))
        .register("password-forgot", |context| {
            http::function(context, password_forgot::routes)
        })
        .register("password-reset", |context| {
            http::function(context, password_reset::routes)
        })
        .register("email-verify", |context| {
            http::function(context, email_verify::routes)
        })
        .register("oauth-start", |context| {
            http::function(context, oauth_start::routes)
        })
        .register("oauth-callback", |context| {
            http::function(context, oauth_callback::routes)
        })
        .register("jwks", jwks::init)
        .run()
        .await
}
