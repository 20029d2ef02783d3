//! How a step fails, in the names that `step-functions/order-saga.asl.json` matches.

use lambda_shared::FunctionError;
use orders::{ClaimError, CloseError, CompleteError, StoreError};

use crate::payments::PaymentError;

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Why a step did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Some products are short; it says which.
    #[error("there is not enough stock: {0}")]
    InsufficientStock(String),
    /// The provider refused the payment method. No money moved.
    #[error("the payment was declined ({0})")]
    PaymentDeclined(String),
    /// The customer took the order back before it was paid. No money moved.
    #[error("the order is cancelled")]
    OrderCancelled,
    /// The order has come to its good end: there is nothing to put back.
    #[error("the order is completed")]
    OrderAlreadyCompleted,
    /// Compensation has closed the order, or it has ended. Whether money moved is for the refund to find out.
    #[error("the order is closed")]
    OrderClosed,
    /// The reservation's time ran out before it was committed.
    #[error("the reservation has expired")]
    ReservationExpired,
    /// Reservation released before.
    #[error("the reservation was released")]
    ReservationReleased,
    /// The step cannot be done as it is asked, now or ever.
    #[error("the step cannot be done as it is asked")]
    InvalidInput(#[source] BoxedError),
    /// Something that the step needs failed. What it was asked to do may or may not have happened.
    #[error("{dependency} failed")]
    Unavailable {
        /// What failed.
        dependency: &'static str,
        /// How.
        #[source]
        source: BoxedError,
    },
}

impl StepError {
    pub(crate) fn invalid_input(why: impl Into<BoxedError>) -> Self {
        Self::InvalidInput(why.into())
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
            Self::PaymentDeclined(_) => "PaymentDeclined",
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

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::unavailable("the order store", error)
    }
}

impl From<ClaimError> for StepError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Cancelled => Self::OrderCancelled,
            ClaimError::Closed => Self::OrderClosed,
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
            // A key of ours that is not accepted says nothing about the payment, and can be put right.
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
    fn every_refusal_of_the_order_has_its_name() {
        assert_eq!(name(ClaimError::Cancelled), "OrderCancelled");
        assert_eq!(name(ClaimError::Closed), "OrderClosed");
        assert_eq!(name(ClaimError::NotFound), "InvalidInput");
        assert_eq!(name(CloseError::Completed), "OrderAlreadyCompleted");
        assert_eq!(name(CompleteError::Closed(OrderStatus::Failed)), "OrderClosed");
        assert_eq!(name(StoreError::Unavailable("timeout".into())), "Unavailable");
    }

    #[test]
    fn only_what_a_retry_can_change_is_unavailable() {
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
    fn faults_are_no_refusals() {
        assert!(StepError::PaymentDeclined("expired_card".into()).is_business_error());
        assert!(StepError::OrderCancelled.is_business_error());
        assert!(!StepError::invalid_input("no such order").is_business_error());
        assert!(!StepError::unavailable("stock-service", "timeout").is_business_error());
    }
}
