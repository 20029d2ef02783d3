//! The saga as an Express state machine beside the Standard one that is deployed.

use aws_sdk_sfn::types::StateMachineType;
use serde_json::{Value, json};

use crate::context::Context;

/// The saga as an Express state machine, which order-processor is told to start instead.
pub struct ExpressStateMachine {
    step_functions: aws_sdk_sfn::Client,
    arn: String,
    /// The variables of order-processor as they were.
    original_environment: Value,
}

impl ExpressStateMachine {
    /// Its name.
    pub const NAME: &'static str = "order-saga-express";

    /// Makes it.
    ///
    /// # Errors
    /// When the local AWS refuses.
    pub async fn deploy(context: &Context) -> anyhow::Result<Self> {
        let sagas = aws_sdk_sfn::Client::new(&aws_client::sdk_config().await);
        let standard = "arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga";
        let standard = sagas
            .describe_state_machine()
            .state_machine_arn(standard)
            .send()
            .await?;
        let created = sagas
            .create_state_machine()
            .name(Self::NAME)
            .r#type(StateMachineType::Express)
            .definition(standard.definition)
            .role_arn(standard.role_arn)
            .send()
            .await?;
        let arn = created.state_machine_arn;
        let configuration: Value = order_processor_configuration(context, None).await?;
        let before = configuration["Environment"].clone();
        let mut now = before.clone();
        now["Variables"]["STATE_MACHINE_ARN"] = json!(arn);
        order_processor_configuration(context, Some(&now)).await?;
        Ok(Self {
            step_functions: sagas,
            arn,
            original_environment: before,
        })
    }

    /// Has order-processor start what it started before.
    ///
    /// # Errors
    /// When the local AWS refuses.
    pub async fn remove(self, context: &Context) -> anyhow::Result<()> {
        order_processor_configuration(context, Some(&self.original_environment)).await?;
        self.step_functions
            .delete_state_machine()
            .state_machine_arn(self.arn)
            .send()
            .await?;
        Ok(())
    }
}

/// Reads order-processor's configuration, or gives it other variables.
async fn order_processor_configuration(
    context: &Context,
    environment: Option<&Value>,
) -> anyhow::Result<Value> {
    let url = format!(
        "{}/2015-03-31/functions/order-processor/configuration",
        context.addresses.aws
    );
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = match environment {
        None => client.get(url),
        Some(environment) => client.put(url).json(&json!({"Environment": environment})),
    };
    // Signed in form only: the emulator finds the service in it.
    let signature = "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/lambda/aws4_request, SignedHeaders=host, Signature=0";
    let answer = request.header("authorization", signature).send().await?;
    Ok(answer.error_for_status()?.json().await?)
}
