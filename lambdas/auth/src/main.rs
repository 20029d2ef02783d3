//! The entry point of all auth functions. The variable `_HANDLER` selects the function that this process
//! runs.

use std::process::ExitCode;

use auth::handlers::{
    email_verify, jwks, login, logout, oauth_callback, oauth_start, password_forgot, password_reset, refresh,
    register,
};
use lambda_shared::FunctionRegistry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("register", register::init)
        .register("login", login::init)
        .register("refresh", refresh::init)
        .register("logout", logout::init)
        .register("password-forgot", password_forgot::init)
        .register("password-reset", password_reset::init)
        .register("email-verify", email_verify::init)
        .register("oauth-start", oauth_start::init)
        .register("oauth-callback", oauth_callback::init)
        .register("jwks", jwks::init)
        .run()
        .await
}
