//! `order-reconciler`: finds stuck orders, restarts their sagas, and parks the orders that stay stuck.
//!
//! The function runs every minute. It reads the oldest orders that have been open longer than a threshold and
//! the state of the latest saga execution of each:
//!
//! | latest execution | action |
//! |---|---|
//! | running | none |
//! | missing | starts it: the `OrderCreated` event or the last start was lost |
//! | ended, but the order is still open | starts the saga again, up to [`orders::MAX_RESTARTS`] times |
//! | ended after the last restart | parks the order, sends it to the parking queue, raises an alarm |
//!
//! An order that waits for its customer to authenticate the payment has no execution. The index of open
//! orders has the end of the wait. The function leaves the order out until then. Afterwards it starts the
//! saga again, which ends the order.
//!
//! A parked order stays in the index of open orders, apart from the others, and its age is a metric with an
//! alarm. `xtask redrive` removes the time at which it was parked; the next run then makes it an open order
//! again, with [`orders::MAX_RESTARTS`] more restarts. So an execution that dies after a redrive is noticed
//! like any other.
//!
//! Step Functions does not report the state of Express executions. For an Express state machine the time
//! since the last start decides. The threshold must then exceed the maximum duration of an Express execution,
//! five minutes.
//!
//! A redundant saga execution is harmless: the steps are idempotent, and conditional writes to the order item
//! resolve conflicts between executions. `docs/adr/0004-reconciler.md` explains why every intermediate state
//! is found.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::{Client as Sqs, error::DisplayErrorContext};
use chrono::TimeDelta;
use domain::{OrderId, Timestamp, UserId};
use dynamodb_table::DynamoDbError;
use futures::{StreamExt, stream};
use lambda_shared::{FunctionContext, FunctionError, Handler, InitError, Invocation, trace_context};
use orders::{Order, Orders};
use serde::Serialize;
use serde_json::json;
use tracing::{Instrument, field::Empty, info_span};

use crate::{
    cloudwatch_emf,
    order_saga::{ExecutionState, OrderSaga, StepFunctionsError},
    saga_input::SagaInput,
};

/// The maximum number of orders per run. The DescribeExecution quota is 15 calls per second and account.
const MAX_ORDERS_PER_RUN: usize = 200;

/// The number of orders that are reconciled concurrently.
const CONCURRENCY: usize = 8;

struct Reconciler {
    orders: Orders,
    saga: OrderSaga,
    sqs: Sqs,
    parking_queue_url: String,
    stuck_threshold: TimeDelta,
    clock: domain::Clock,
}

/// Why an order, or the whole run, could not be reconciled.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Store(#[from] DynamoDbError),
    #[error(transparent)]
    StepFunctions(#[from] StepFunctionsError),
    /// Contains the messages of the SDK error and all its sources.
    #[error("the order cannot be sent to the parking queue: {0}")]
    ParkingQueue(String),
}

/// The number of open orders and of actions in a run.
#[derive(Debug, Default, Serialize)]
struct RunSummary {
    open: u64,
    oldest_age_seconds: u64,
    restarted: u64,
    parked: u64,
    /// Orders that are parked now, those of earlier runs included.
    parked_total: u64,
    oldest_parked_age_seconds: u64,
    redriven: u64,
    failed: u64,
}

/// The action taken for an order.
enum Action {
    Skipped,
    Restarted,
    Parked,
    Redriven,
}

/// Initialises the function for orders in `ORDERS_TABLE` that have been open longer than
/// `ORDER_STUCK_THRESHOLD_SECONDS`, the state machine `STATE_MACHINE_ARN` and the queue
/// `ORDER_PARKING_QUEUE_URL`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let stuck_threshold: u32 = context.environment.required("ORDER_STUCK_THRESHOLD_SECONDS")?;
    let orders_table: String = context.environment.required("ORDERS_TABLE")?;
    let reconciler = Arc::new(Reconciler {
        orders: Orders::new(DynamoDb::new(&context.aws), orders_table, context.clock.clone()),
        saga: OrderSaga::from_context(&context).await?,
        sqs: Sqs::new(&context.aws),
        parking_queue_url: context.environment.required("ORDER_PARKING_QUEUE_URL")?,
        stuck_threshold: TimeDelta::seconds(i64::from(stuck_threshold)),
        clock: context.clock,
    });
    Ok(Handler::new(move |_: Invocation| {
        let reconciler = Arc::clone(&reconciler);
        async move { reconciler.run().await }
    }))
}

impl Reconciler {
    async fn run(&self) -> Result<RunSummary, ReconcileError> {
        let now = self.clock.now();
        let parked = self.orders.parked_orders(MAX_ORDERS_PER_RUN).await?;
        let open = self
            .orders
            .open_orders(now - self.stuck_threshold, MAX_ORDERS_PER_RUN)
            .await?;
        let mut summary = RunSummary {
            open: open.count,
            oldest_age_seconds: age_seconds(open.oldest, now),
            parked_total: parked.count,
            oldest_parked_age_seconds: age_seconds(parked.oldest, now),
            ..RunSummary::default()
        };
        let mut actions = stream::iter(parked.overdue.into_iter().chain(open.overdue))
            .map(|order_key| self.try_reconcile(order_key, now))
            .buffer_unordered(CONCURRENCY);
        while let Some(action) = actions.next().await {
            match action {
                Some(Action::Skipped) => {}
                Some(Action::Restarted) => summary.restarted += 1,
                Some(Action::Parked) => summary.parked += 1,
                Some(Action::Redriven) => summary.redriven += 1,
                None => summary.failed += 1,
            }
        }
        cloudwatch_emf::emit(
            "Matsuri/Orders",
            now,
            &[
                ("OrdersOpen", "Count", summary.open),
                ("OldestOpenOrderAge", "Seconds", summary.oldest_age_seconds),
                ("OrdersRestarted", "Count", summary.restarted),
                ("OrdersParked", "Count", summary.parked),
                ("ParkedOrders", "Count", summary.parked_total),
                (
                    "OldestParkedOrderAge",
                    "Seconds",
                    summary.oldest_parked_age_seconds,
                ),
            ],
        );
        Ok(summary)
    }

    /// Logs an error and returns `None`, so that one failing order does not block the others. The next run
    /// retries it.
    async fn try_reconcile(&self, order_key: (UserId, OrderId), now: Timestamp) -> Option<Action> {
        let span = info_span!(
            "order",
            trace_id = Empty,
            correlation_id = Empty,
            causation_id = Empty
        );
        let reconciling = async {
            self.reconcile(order_key, now)
                .await
                .inspect_err(|error| {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "the stuck order could not be reconciled");
                })
                .ok()
        };
        reconciling.instrument(span).await
    }

    async fn reconcile(
        &self,
        (user_id, order_id): (UserId, OrderId),
        now: Timestamp,
    ) -> Result<Action, ReconcileError> {
        let Some(mut order) = self.orders.find(user_id, order_id).await? else {
            return Ok(Action::Skipped);
        };
        trace_context::attach(&order.event_context());
        if order.is_parked() {
            return self.resume_if_redriven(&order).await;
        }
        let last_start = order.restarted_at.unwrap_or(order.created_at);
        // The index of open orders is eventually consistent.
        if order.status.is_final()
            || order.awaits_payment_action_at(now)
            || now - last_start < self.stuck_threshold
        {
            return Ok(Action::Skipped);
        }
        match self.saga.execution_state(order_id, order.restarts).await? {
            ExecutionState::Running => Ok(Action::Skipped),
            ExecutionState::Missing => self.start_saga(&order).await,
            ExecutionState::Ended { parked } if order.restarts >= order.restart_limit() => {
                self.park(&order, parked).await
            }
            ExecutionState::Ended { .. } if self.orders.increment_restarts(&order).await? => {
                order.restarts += 1;
                self.start_saga(&order).await
            }
            // The order has ended in the meantime, or a concurrent run has restarted its saga.
            ExecutionState::Ended { .. } => Ok(Action::Skipped),
        }
    }

    /// Resumes a parked order whose `parked_at` a redrive has removed. The next run restarts its saga.
    async fn resume_if_redriven(&self, order: &Order) -> Result<Action, ReconcileError> {
        let is_redriven = !order.status.is_final() && order.parked_at.is_none();
        if is_redriven && self.orders.unpark(order).await? {
            tracing::warn!(restarts = order.restarts, "a parked order was redriven");
            return Ok(Action::Redriven);
        }
        Ok(Action::Skipped)
    }

    /// Starts the saga's next execution. Step Functions rejects a second start with the same name, also from
    /// order-processor.
    async fn start_saga(&self, order: &Order) -> Result<Action, ReconcileError> {
        let (status, restarts) = (order.status.as_str(), order.restarts);
        self.saga
            .start(order.order_id, restarts, &SagaInput::from(order))
            .await?;
        tracing::warn!(status, restarts, "the saga of a stuck order was started");
        Ok(Action::Restarted)
    }

    /// Sends the order to the parking queue, in the message format that the saga uses, and parks it. If the
    /// process dies between the two, the next run sends a second message, and the order is
    /// not lost.
    async fn park(&self, order: &Order, parked_by_saga: bool) -> Result<Action, ReconcileError> {
        if !parked_by_saga {
            let body = json!({
                "order_id": order.order_id,
                "execution": self.saga.execution_arn(order.order_id, order.restarts),
                "state": SagaInput::from(order),
            });
            self.sqs
                .send_message()
                .queue_url(&self.parking_queue_url)
                .message_body(body.to_string())
                .send()
                .await
                .map_err(|error| ReconcileError::ParkingQueue(DisplayErrorContext(error).to_string()))?;
        }
        if !self.orders.park(order).await? {
            return Ok(Action::Skipped);
        }
        tracing::warn!(restarts = order.restarts, "the stuck order was parked");
        Ok(Action::Parked)
    }
}

/// 0 without an order, and when the clock of the service that placed it is slightly ahead.
fn age_seconds(order: Option<OrderId>, now: Timestamp) -> u64 {
    let age = order.map_or(0, |order| (now - order.created_at()).num_seconds());
    u64::try_from(age).unwrap_or(0)
}

impl FunctionError for ReconcileError {
    fn name(&self) -> &'static str {
        "Unavailable"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}
