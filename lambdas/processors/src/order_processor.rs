//! `order-processor`: starts a saga execution for each `OrderCreated` and each `PaymentActionCompleted`
//! event.
//!
//! The order id and the number of the execution are its name. For a Standard state machine, Step Functions
//! rejects a second execution with the same name for 90 days, so duplicate events are harmless. An Express
//! state machine accepts duplicate names, so the function uses the idempotency store.
//!
//! `order-reconciler` starts the sagas of orders whose event was lost, and restarts sagas that died.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use domain::OrderId;
use dynamodb_table::DynamoDbError;
use events::{
    EventBridgeEvent, EventData,
    eventbridge::{EventHeader, EventParseError, received_detail},
    order::{OrderCreated, PaymentActionCompleted},
};
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError, idempotency::IdempotencyError, sqs, sqs::Message,
    trace_context,
};
use orders::Orders;

use crate::{
    RECORD_RETENTION,
    order_saga::{OrderSaga, Start, StepFunctionsError},
    saga_input::SagaInput,
};

/// The number of sagas that one invocation starts concurrently: the whole batch.
const CONCURRENCY: usize = 10;

struct OrderProcessor {
    orders: Orders,
    saga: OrderSaga,
    /// The processed events. `None` for a Standard state machine, which rejects duplicate execution names.
    started_sagas: Option<Idempotency>,
}

/// Why an event did not start a saga.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error(transparent)]
    Event(#[from] EventParseError),
    #[error("the message is not an event")]
    Malformed(#[from] serde_json::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError<StartError>),
}

/// An event that starts an execution of the saga.
enum SagaEvent {
    Created(EventBridgeEvent<OrderCreated>),
    PaymentActionCompleted(EventBridgeEvent<PaymentActionCompleted>),
}

/// Why no execution was started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Orders(#[from] DynamoDbError),
    #[error("the saga cannot be started")]
    StepFunctions(#[from] StepFunctionsError),
}

/// Initialises the function for the state machine `STATE_MACHINE_ARN`, with the orders in `ORDERS_TABLE` and
/// the idempotency store in `IDEMPOTENCY_TABLE`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let saga = OrderSaga::from_context(&context).await?;
    let idempotency_table: String = context.environment.required("IDEMPOTENCY_TABLE")?;
    let orders_table: String = context.environment.required("ORDERS_TABLE")?;
    let started_sagas = if saga.is_standard() {
        None
    } else {
        let idempotency = Idempotency::new(
            DynamoDb::new(&context.aws),
            idempotency_table,
            "order-processor",
            RECORD_RETENTION,
            context.clock.clone(),
        );
        idempotency.warm_up().await?;
        Some(idempotency)
    };

    let processor = Arc::new(OrderProcessor {
        orders: Orders::new(DynamoDb::new(&context.aws), orders_table, context.clock.clone()),
        saga,
        started_sagas,
    });
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let processor = Arc::clone(&processor);
        async move { processor.process(message).await }
    }))
}

impl OrderProcessor {
    async fn process(&self, Message { body, deadline, .. }: Message) -> Result<(), ProcessError> {
        let event = SagaEvent::parse(&body)?;
        let (event_id, context) = match &event {
            SagaEvent::Created(event) => (event.detail.event_id, event.detail.follow_up_context()),
            SagaEvent::PaymentActionCompleted(event) => {
                (event.detail.event_id, event.detail.follow_up_context())
            }
        };
        trace_context::attach(&context);
        match &self.started_sagas {
            None => self.start_saga(&event).await?,
            Some(started_sagas) => {
                let key = event_id.to_string();
                started_sagas
                    .run_once(&key, received_detail(&body)?, deadline, || {
                        self.start_saga(&event)
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn start_saga(&self, event: &SagaEvent) -> Result<(), StartError> {
        match event {
            SagaEvent::Created(event) => {
                let order_id = event.detail.data.order_id;
                self.start_execution(order_id, 0, &SagaInput::from(&event.detail))
                    .await
            }
            SagaEvent::PaymentActionCompleted(event) => {
                let event = &event.detail.data;
                match self.orders.find(event.user_id, event.order_id).await? {
                    Some(order) if !order.status.is_final() => {
                        let input = SagaInput::from(&order);
                        self.start_execution(order.order_id, event.restarts, &input).await
                    }
                    _ => {
                        tracing::info!("the order has ended");
                        Ok(())
                    }
                }
            }
        }
    }

    async fn start_execution(
        &self,
        order_id: OrderId,
        restarts: u32,
        input: &SagaInput,
    ) -> Result<(), StartError> {
        match self.saga.start(order_id, restarts, input).await? {
            Start::Started => tracing::info!("the order saga was started"),
            Start::AlreadyStarted => tracing::info!("the order saga was already started"),
        }
        Ok(())
    }
}

impl SagaEvent {
    fn parse(body: &str) -> Result<Self, ProcessError> {
        let EventHeader { detail_type } = serde_json::from_str(body)?;
        if detail_type == PaymentActionCompleted::DETAIL_TYPE {
            return Ok(Self::PaymentActionCompleted(EventBridgeEvent::parse(body)?));
        }
        Ok(Self::Created(EventBridgeEvent::parse(body)?))
    }
}
