//! Accounts: authentication, the validation of account data, and account deletion.
//!
//! The crate `users` stores the accounts.

mod account_status;
mod delete_account;
mod validation;

pub use account_status::{AccountStatusCache, AuthenticatedUser, AuthenticationError};
pub use delete_account::{DeleteAccountError, delete_account};
pub use validation::{
    AddressLine, AddressRequest, Country, MailLanguage, MobileNumber, Phone, PostalCode, PreferencesPatch,
    PreferencesResponse, ProfilePatch, QuietHoursSchema, VerificationCode,
};
