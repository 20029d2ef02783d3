//! The Lambda functions, one module each. Each has a function that reads the environment and creates the
//! clients once per process (`routes`; `init` in `jwks`, which requests reach past CloudFront), and the
//! handlers of its routes.

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
