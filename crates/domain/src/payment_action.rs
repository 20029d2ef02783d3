//! What a customer must do before the payment provider charges a payment: authenticate with the bank (3D
//! Secure).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The action that a payment requires of the customer. A client that has the secret or the page can
/// authenticate and confirm the payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAction {
    /// The provider's name of the action, such as `redirect_to_url`.
    pub kind: String,
    /// The key of the customer's browser to the payment.
    pub client_secret: CustomerSecret,
    /// The page on which the customer acts. `None` if only the provider's browser library can show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<CustomerSecret>,
}

/// Text that only the customer may see. `Debug` does not show it, so that no log contains it. It is
/// serialised for the order store and for the response to the customer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomerSecret(String);

impl CustomerSecret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for CustomerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_contains_no_secret() {
        let action = PaymentAction {
            kind: "redirect_to_url".to_owned(),
            client_secret: CustomerSecret::new("pi_1_secret_2".to_owned()),
            redirect_url: Some(CustomerSecret::new("https://bank.example/3ds".to_owned())),
        };
        let shown = format!("{action:?}");
        assert!(shown.contains("redirect_to_url"), "{shown}");
        assert!(
            !shown.contains("secret_2") && !shown.contains("bank.example"),
            "{shown}"
        );
    }
}
