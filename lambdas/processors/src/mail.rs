//! A rendered mail, and the validation of its recipient's address.

use domain::text::is_email_address;

/// A rendered mail.
#[derive(Debug)]
pub struct Mail {
    /// The recipient's e-mail address.
    pub to: String,
    pub subject: String,
    /// The plain text body.
    pub text: String,
    /// The HTML body.
    pub html: String,
    /// Where the recipient can unsubscribe from such mails; `None` for mails that they cannot opt out of.
    pub unsubscribe_url: Option<String>,
}

/// Why a mail cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("the recipient is not a single valid e-mail address")]
    InvalidAddress,
    /// The token contains characters that cannot stand in a URL's query.
    #[error("the mail's link token contains invalid characters")]
    InvalidLinkToken,
    #[error("a price of the order is out of range")]
    PriceOutOfRange(#[from] domain::money::MoneyError),
    #[error("the mail template failed")]
    Template(#[from] askama::Error),
}

/// Returns the text if it is exactly one e-mail address.
pub fn validate_address(text: &str) -> Result<String, MailError> {
    if is_email_address(text) {
        Ok(text.to_owned())
    } else {
        Err(MailError::InvalidAddress)
    }
}
