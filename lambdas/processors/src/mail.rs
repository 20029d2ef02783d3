//! A rendered mail, and the validation of its recipient's address.

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

/// Accepts exactly one e-mail address: no list, no display name, no line break that would start another
/// header.
pub fn validate_address(text: &str) -> Result<String, MailError> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_graphic() && !"@,;:<>()[]\\\"".contains(c))
    };
    match text.split_once('@') {
        Some((local, host)) if is_plain(local) && is_plain(host) => Ok(text.to_owned()),
        _ => Err(MailError::InvalidAddress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_a_single_plain_address() {
        assert_eq!(
            validate_address("hanako@example.com").unwrap(),
            "hanako@example.com"
        );
        for invalid in [
            "",
            "hanako",
            "@example.com",
            "hanako@",
            "a@example.com,b@example.com",
            "a@b@example.com",
            "Hanako <hanako@example.com>",
            "hanako@example.com\r\nBcc: evil@example.com",
            "花子@example.com",
        ] {
            assert!(
                matches!(validate_address(invalid), Err(MailError::InvalidAddress)),
                "{invalid}"
            );
        }
    }
}
