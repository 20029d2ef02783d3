//! Passwords: the policy for new passwords, and hashing and verification with argon2id.

mod hash;
mod policy;

pub use hash::{PasswordHashError, verify};
pub use policy::{Password, warm_up_strength_estimator};

/// The longest password in bytes. It bounds the work of hashing and of strength estimation.
const MAX_BYTES: usize = 512;
