//! The auth family: `_HANDLER` says which function this process is.

use std::process::ExitCode;

use auth::{
    email_verify, jwks, login, logout, oauth_callback, oauth_start, password_forgot, password_reset, refresh,
    register,
};
use lambda_shared::Family;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Family::new()
        .function("register", register::start)
        .function("login", login::start)
        .function("refresh", refresh::start)
        .function("logout", logout::start)
        .function("password-forgot", password_forgot::start)
        .function("password-reset", password_reset::start)
        .function("email-verify", email_verify::start)
        .function("oauth-start", oauth_start::start)
        .function("oauth-callback", oauth_callback::start)
        .function("jwks", jwks::start)
        .run()
        .await
}
