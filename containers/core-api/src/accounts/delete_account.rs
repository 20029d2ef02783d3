//! The end of an account.

use domain::{OrderId, UserId};
use orders::{AnonymiseError, CancelError, Orders, StoreError};
use users::{NewAuditEntry, Users};

use crate::{
    carts::{CartError, CartId, Carts},
    order_service::OrderService,
};

/// Why an account was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteAccountError {
    /// An order has not ended.
    #[error("the order {0} is still open")]
    OrderOpen(OrderId),
    /// See [`StoreError`].
    #[error(transparent)]
    OrderStore(#[from] StoreError),
    /// See [`CartError`].
    #[error(transparent)]
    Cart(#[from] CartError),
    /// The accounts' database failed.
    #[error("the accounts' database failed")]
    Database(#[from] sqlx::Error),
}

impl From<AnonymiseError> for DeleteAccountError {
    fn from(error: AnonymiseError) -> Self {
        match error {
            AnonymiseError::OrderInProgress(order_id) => Self::OrderOpen(order_id),
            AnonymiseError::Store(error) => Self::OrderStore(error),
        }
    }
}

/// Deletes an account and all that leads to the person. Orders stay without what does.
///
/// The account goes last: when anything before fails, the person is still there to try again, and each step may be
/// done twice.
pub async fn delete_account(
    users: &Users,
    orders: &Orders,
    checkout: &OrderService,
    carts: &Carts,
    user_id: UserId,
    entry: &NewAuditEntry,
) -> Result<(), DeleteAccountError> {
    orders.anonymise(user_id).await?;
    carts.delete(&CartId::for_user(user_id)).await?;
    users.delete(user_id, entry).await?;

    // Another request may have been let in just before. Nobody is left to want what it ordered.
    for order in orders.list_all(user_id).await? {
        if order.status.is_final() {
            continue;
        }
        match checkout.cancel(user_id, order.order_id).await {
            Ok(_) | Err(CancelError::NotFound | CancelError::TooLate(_)) => {}
            Err(CancelError::Store(error)) => return Err(error.into()),
        }
    }
    carts.delete(&CartId::for_user(user_id)).await?;
    match orders.anonymise(user_id).await {
        Ok(()) => Ok(()),
        Err(AnonymiseError::OrderInProgress(order_id)) => {
            // It is being paid for and will be carried out; its mail needs the address until then.
            tracing::warn!(order.id = %order_id, "an order outlives its customer's account");
            Ok(())
        }
        Err(AnonymiseError::Store(error)) => Err(error.into()),
    }
}
