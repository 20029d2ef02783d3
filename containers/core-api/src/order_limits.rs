//! How much an account may order, so that one account cannot reserve the stock of a shop without paying.

use domain::Quantity;

use crate::order_service::{Buyer, OrderError};

/// The limits of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// The maximum number of units in one order.
    pub max_units: u32,
    /// The maximum number of open orders; `None` means any number.
    pub max_open_orders: Option<u32>,
}

/// The limits of all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimits {
    /// For accounts with a verified e-mail address.
    pub verified: AccountLimits,
    /// For the other accounts; `None` means that they cannot order.
    pub unverified: Option<AccountLimits>,
}

impl OrderLimits {
    /// The limits of a buyer. Fails if the buyer must verify the e-mail address first.
    pub fn for_buyer(&self, buyer: &Buyer) -> Result<AccountLimits, OrderError> {
        if buyer.email_verified {
            Ok(self.verified)
        } else {
            self.unverified.ok_or(OrderError::EmailNotVerified)
        }
    }
}

impl AccountLimits {
    /// Fails if the quantities of an order exceed its maximum number of units.
    pub fn check_units(self, quantities: impl Iterator<Item = Quantity>) -> Result<(), OrderError> {
        let units: u64 = quantities.map(|quantity| u64::from(quantity.get())).sum();
        if units > u64::from(self.max_units) {
            return Err(OrderError::TooManyUnits(self.max_units));
        }
        Ok(())
    }
}
