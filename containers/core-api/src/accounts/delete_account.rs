//! Account deletion.

use database::DatabaseError;
use domain::{OrderId, UserId};
use dynamodb_table::DynamoDbError;
use orders::{AnonymiseError, CancelError, Orders};
use users::{NewAuditEntry, Users};

use crate::{
    carts::{CartError, CartId, Carts},
    order_service::OrderService,
};

/// Why an account was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteAccountError {
    #[error("order {0} is still in progress")]
    OrderOpen(OrderId),
    #[error(transparent)]
    OrderStore(#[from] DynamoDbError),
    #[error(transparent)]
    Cart(#[from] CartError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<AnonymiseError> for DeleteAccountError {
    fn from(error: AnonymiseError) -> Self {
        match error {
            AnonymiseError::OrderInProgress(order_id) => Self::OrderOpen(order_id),
            AnonymiseError::Store(error) => Self::OrderStore(error),
        }
    }
}

/// Deletes an account and all personal data of the user. Orders are kept without their personal data.
///
/// The account itself is deleted after the orders are anonymised and the cart is deleted: when one of these
/// steps fails, the user can still try again. Every step is idempotent.
pub async fn delete_account(
    users: &Users,
    orders: &Orders,
    order_service: &OrderService,
    carts: &Carts,
    user_id: UserId,
    entry: &NewAuditEntry,
) -> Result<(), DeleteAccountError> {
    orders.anonymise(user_id).await?;
    carts.delete(&CartId::for_user(user_id)).await?;
    users.delete(user_id, entry).await?;

    // A request that was authenticated before the deletion may have placed an order: cancel it.
    for order in orders.list_all(user_id).await? {
        if order.status.is_final() {
            continue;
        }
        match order_service.cancel(user_id, order.order_id).await {
            Ok(_) | Err(CancelError::NotFound | CancelError::TooLate(_)) => {}
            Err(CancelError::Store(error)) => return Err(error.into()),
        }
    }
    carts.delete(&CartId::for_user(user_id)).await?;
    match orders.anonymise(user_id).await {
        Ok(()) => Ok(()),
        Err(AnonymiseError::OrderInProgress(order_id)) => {
            // The order is being paid for and will be completed; its order mail needs the e-mail address
            // until then.
            tracing::warn!(order.id = %order_id, "order is still in progress after account deletion");
            Ok(())
        }
        Err(AnonymiseError::Store(error)) => Err(error.into()),
    }
}
