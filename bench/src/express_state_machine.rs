//! Deploys the saga as an Express state machine beside the deployed Standard one.

use aws_sdk_sfn::types::StateMachineType;
use serde_json::{Value, json};

use crate::context::Context;

/// The saga as an Express state machine, which order-processor starts instead of the Standard one.
pub struct ExpressStateMachine {
    step_functions: aws_sdk_sfn::Client,
    arn: String,
    /// order-processor's environment before the change.
    original_environment: Value,
}

impl ExpressStateMachine {
    /// The state machine's name.
    pub const NAME: &'static str = "order-saga-express";

    /// Creates the state machine and reconfigures order-processor to start it.
    ///
    /// # Errors
    /// Fails when the local AWS rejects a request.
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

    /// Restores order-processor's environment and deletes the state machine.
    ///
    /// # Errors
    /// Fails when the local AWS rejects a request.
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

/// Reads order-processor's configuration, or replaces its environment.
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
    // MiniStack does not verify signatures. It only reads the service's name from the scope.
    let signature = "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/lambda/aws4_request, \
                     SignedHeaders=host, Signature=0";
    let response = request.header("authorization", signature).send().await?;
    Ok(response.error_for_status()?.json().await?)
}
