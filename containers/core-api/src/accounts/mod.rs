//! People: who is asking, what they may say of themselves, and how they leave.
//!
//! The accounts themselves are the crate `users`'.

mod account_status;
mod delete_account;
mod validation;

pub use account_status::{AccountStatusCache, AuthenticatedUser, AuthenticationError};
pub use delete_account::{DeleteAccountError, delete_account};
pub use validation::{
    AddressLine, AddressRequest, Country, MailLanguage, Phone, PostalCode, PreferencesPatch,
    PreferencesResponse, ProfilePatch,
};
