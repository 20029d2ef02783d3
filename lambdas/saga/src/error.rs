//! Step errors, with the names that `step-functions/order-saga.asl.json` matches.

use dynamodb_table::DynamoDbError;
use lambda_shared::FunctionError;
use orders::{ClaimError, CloseError, CompleteError};

use crate::payments::PaymentError;

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Lists the products whose available stock is too low.
    #[error("insufficient stock: {0}")]
    InsufficientStock(String),
    /// Open reservations hold the products that it lists. A retry can succeed for some seconds, until these
    /// orders are paid or fail.
    #[error("open reservations hold the stock: {0}")]
    StockHeld(String),
    /// The provider declined the payment method. No money moved, but a customer who has the payment's client
    /// secret can pay it with another method until it is cancelled.
    #[error("the payment was declined ({0})")]
    PaymentDeclined(String),
    /// The customer did not authenticate the payment in time. It may still be charged: `refund-payment`
    /// determines whether it is.
    #[error("the customer did not complete the payment's action in time")]
    PaymentActionExpired,
    /// The customer cancelled the order before payment. No money moved.
    #[error("the order is cancelled")]
    OrderCancelled,
    /// The order is completed and must not be compensated.
    #[error("the order is completed")]
    OrderAlreadyCompleted,
    /// A compensation has closed the order, or the order has ended. Money may have moved: `refund-payment`
    /// determines whether it has.
    #[error("the order is closed to payment and completion")]
    OrderClosed,
    /// The reservation expired before it was committed.
    #[error("the reservation has expired")]
    ReservationExpired,
    /// A compensation has released the reservation.
    #[error("the reservation was released")]
    ReservationReleased,
    /// The input is invalid. A retry fails again.
    #[error("the step's input is invalid")]
    InvalidInput(#[source] BoxedError),
    /// A dependency failed. Its effect may or may not have happened. A retry can succeed.
    #[error("{dependency} failed")]
    Unavailable {
        /// The dependency that failed.
        dependency: &'static str,
        #[source]
        source: BoxedError,
    },
}

impl StepError {
    pub(crate) fn invalid_input(source: impl Into<BoxedError>) -> Self {
        Self::InvalidInput(source.into())
    }

    pub(crate) fn unavailable(dependency: &'static str, source: impl Into<BoxedError>) -> Self {
        Self::Unavailable {
            dependency,
            source: source.into(),
        }
    }
}

impl FunctionError for StepError {
    fn name(&self) -> &'static str {
        match self {
            Self::InsufficientStock(_) => "InsufficientStock",
            Self::StockHeld(_) => "StockHeld",
            Self::PaymentDeclined(_) => "PaymentDeclined",
            Self::PaymentActionExpired => "PaymentActionExpired",
            Self::OrderCancelled => "OrderCancelled",
            Self::OrderAlreadyCompleted => "OrderAlreadyCompleted",
            Self::OrderClosed => "OrderClosed",
            Self::ReservationExpired => "ReservationExpired",
            Self::ReservationReleased => "ReservationReleased",
            Self::InvalidInput(_) => "InvalidInput",
            Self::Unavailable { .. } => "Unavailable",
        }
    }

    fn is_business_error(&self) -> bool {
        !matches!(self, Self::InvalidInput(_) | Self::Unavailable { .. })
    }
}

impl From<DynamoDbError> for StepError {
    fn from(error: DynamoDbError) -> Self {
        Self::unavailable("the order store", error)
    }
}

impl From<ClaimError> for StepError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Cancelled => Self::OrderCancelled,
            ClaimError::Closed => Self::OrderClosed,
            ClaimError::ActionExpired => Self::PaymentActionExpired,
            ClaimError::Store(error) => error.into(),
            ClaimError::NotFound => Self::invalid_input(error),
        }
    }
}

impl From<CompleteError> for StepError {
    fn from(error: CompleteError) -> Self {
        match error {
            CompleteError::Closed(_) => Self::OrderClosed,
            CompleteError::Store(error) => error.into(),
            CompleteError::NotFound => Self::invalid_input(error),
        }
    }
}

impl From<CloseError> for StepError {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Completed => Self::OrderAlreadyCompleted,
            CloseError::Store(error) => error.into(),
            CloseError::NotFound => Self::invalid_input(error),
        }
    }
}

impl From<PaymentError> for StepError {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Declined { code } => Self::PaymentDeclined(code),
            // A rejected API key says nothing about the payment, and an operator can replace the key.
            PaymentError::Unavailable(_)
            | PaymentError::Rejected {
                status: 401 | 403, ..
            } => Self::unavailable("the payment provider", error),
            PaymentError::Rejected { .. } | PaymentError::NotFound => Self::invalid_input(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::OrderStatus;

    use super::*;

    fn name(error: impl Into<StepError>) -> &'static str {
        error.into().name()
    }

    #[test]
    fn order_store_errors_map_to_step_error_names() {
        assert_eq!(name(ClaimError::Cancelled), "OrderCancelled");
        assert_eq!(name(ClaimError::Closed), "OrderClosed");
        assert_eq!(name(ClaimError::ActionExpired), "PaymentActionExpired");
        assert_eq!(name(ClaimError::NotFound), "InvalidInput");
        assert_eq!(name(CloseError::Completed), "OrderAlreadyCompleted");
        assert_eq!(name(CompleteError::Closed(OrderStatus::Failed)), "OrderClosed");
        assert_eq!(name(DynamoDbError::Unavailable("timeout".into())), "Unavailable");
    }

    #[test]
    fn only_retryable_payment_errors_map_to_unavailable() {
        let rejected = |status| PaymentError::Rejected {
            status,
            code: "unspecified".into(),
        };
        assert_eq!(
            name(PaymentError::Declined {
                code: "expired_card".into()
            }),
            "PaymentDeclined"
        );
        assert_eq!(name(PaymentError::Unavailable("timeout".into())), "Unavailable");
        assert_eq!(name(rejected(401)), "Unavailable");
        assert_eq!(name(rejected(400)), "InvalidInput");
        assert_eq!(name(PaymentError::NotFound), "InvalidInput");
    }

    #[test]
    fn malfunctions_are_not_business_errors() {
        assert!(StepError::PaymentDeclined("expired_card".into()).is_business_error());
        assert!(StepError::OrderCancelled.is_business_error());
        assert!(!StepError::invalid_input("no such order").is_business_error());
        assert!(!StepError::unavailable("stock-service", "timeout").is_business_error());
    }
}
