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
use aws_sdk_sfn::{
    Client as StepFunctions,
    error::{DisplayErrorContext, SdkError},
    operation::start_execution::StartExecutionError,
    types::StateMachineType,
};
use domain::OrderId;
use events::{
    EventBridgeEvent, EventData,
    eventbridge::{EventHeader, EventParseError, received_detail},
    order::{OrderCreated, PaymentActionCompleted},
};
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError, idempotency::IdempotencyError, sqs, sqs::Message,
    trace_context,
};
use orders::{Orders, StoreError, Tables};

use crate::{
    RECORD_RETENTION,
    saga_input::{SagaInput, execution_name},
};

/// The number of sagas that one invocation starts concurrently: the whole batch.
const CONCURRENCY: usize = 10;

struct OrderProcessor {
    orders: Orders,
    step_functions: StepFunctions,
    state_machine_arn: String,
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
    Orders(#[from] StoreError),
    /// Contains the messages of the SDK error and all its sources.
    #[error("the saga cannot be started: {0}")]
    StepFunctions(String),
}

/// Initialises the function for the state machine `STATE_MACHINE_ARN`, with the orders in `ORDERS_TABLE` and
/// the idempotency store in `IDEMPOTENCY_TABLE`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let state_machine_arn: String = context.environment.required("STATE_MACHINE_ARN")?;
    let idempotency_table: String = context.environment.required("IDEMPOTENCY_TABLE")?;
    // The function only reads orders.
    let tables = Tables {
        orders: context.environment.required("ORDERS_TABLE")?,
        outbox: String::new(),
        idempotency: String::new(),
    };

    let step_functions = StepFunctions::new(&context.aws);
    let described = step_functions
        .describe_state_machine()
        .state_machine_arn(&state_machine_arn)
        .send()
        .await?;
    let started_sagas = if described.r#type == StateMachineType::Express {
        let idempotency = Idempotency::new(
            DynamoDb::new(&context.aws),
            idempotency_table,
            "order-processor",
            RECORD_RETENTION,
            context.clock.clone(),
        );
        idempotency.warm_up().await?;
        Some(idempotency)
    } else {
        None
    };

    let processor = Arc::new(OrderProcessor {
        orders: Orders::new(DynamoDb::new(&context.aws), tables, context.clock.clone()),
        step_functions,
        state_machine_arn,
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
        let request = self
            .step_functions
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(execution_name(order_id, restarts))
            .input(input.to_json());
        match request.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => tracing::info!("the order saga was started"),
            Err(StartExecutionError::ExecutionAlreadyExists(_)) => {
                tracing::info!("the order saga was already started");
            }
            Err(error) => return Err(StartError::StepFunctions(DisplayErrorContext(error).to_string())),
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
