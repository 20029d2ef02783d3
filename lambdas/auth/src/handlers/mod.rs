//! The Lambda functions, one module each. Every module has `routes`, which reads the environment and creates
//! the clients once per process, and the handler of its route.

pub mod email_verify;
pub mod jwks;
pub mod login;
pub mod logout;
pub mod oauth_callback;
pub mod oauth_start;
pub mod password_forgot;
pub mod password_reset;
pub mod refresh;
pub mod register;
