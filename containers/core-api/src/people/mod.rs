//! People: who is asking, what they may say of themselves, and how they leave.
//!
//! The accounts themselves are the crate `users`'.

mod leaving;
mod standings;
mod values;

pub use leaving::{LeaveError, leave};
pub use standings::{Person, Standings, Unrecognised};
pub use values::{
    AddressLine, AddressRequest, Country, MailLanguage, Phone, PostalCode, PreferencesPatch, PreferencesView,
    ProfilePatch,
};
