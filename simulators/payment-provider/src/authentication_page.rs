//! The page of the customer's bank on which the customer authenticates (3D Secure): it approves or denies the
//! payment and sends the customer back to the shop. A customer who leaves it never answers.

use axum::{
    Form, Router,
    extract::{Path, State},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use reqwest::Url;
use serde::Deserialize;

use crate::{
    api_error::ApiError,
    provider::{CommandResponse, Provider},
    resources::IntentStatus,
    state::{Command, CommandOutcome},
};

pub fn routes() -> Router<Provider> {
    Router::new().route("/authenticate/{intent}/{authentication}", get(show).post(submit))
}

/// The customer's choice.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Approve,
    Deny,
}

#[derive(Deserialize)]
struct Submission {
    choice: Choice,
}

async fn show(
    State(provider): State<Provider>,
    Path((intent, authentication)): Path<(String, String)>,
) -> Result<Html<String>, ApiError> {
    provider.with_state(|state| {
        let intent = state.find_authentication(&intent, &authentication)?;
        Ok(Html(format!(
            "<!doctype html><html lang=\"en\"><title>3D Secure test page</title>\
             <h1>3D Secure test page</h1><p>Payment of ¥{}</p><form method=\"post\">\
             <button name=\"choice\" value=\"approve\">Complete authentication</button> \
             <button name=\"choice\" value=\"deny\">Fail authentication</button></form></html>",
            intent.amount
        )))
    })
}

/// Redirects to the confirmation's `return_url`, with the parameters that Stripe adds.
async fn submit(
    State(provider): State<Provider>,
    Path((intent, authentication)): Path<(String, String)>,
    Form(Submission { choice }): Form<Submission>,
) -> Result<Response, ApiError> {
    let (client_secret, return_url) = provider.with_state(|state| {
        let intent = state.find_authentication(&intent, &authentication)?;
        let awaited = intent.authentication.as_ref();
        let return_url = awaited.and_then(|awaited| awaited.return_url.as_deref()?.parse::<Url>().ok());
        Ok((intent.client_secret.clone(), return_url))
    })?;
    let command = Command::Authenticate {
        intent: intent.clone(),
        authentication,
        is_approved: choice == Choice::Approve,
    };
    let redirect_status = match provider.execute(None, command).await? {
        CommandResponse::New(CommandOutcome::Intent(intent)) if intent.status == IntentStatus::Succeeded => {
            "succeeded"
        }
        // Another submission of the page came first.
        CommandResponse::New(CommandOutcome::Rejected(error)) if error.intent.is_none() => return Err(error),
        _ => "failed",
    };
    let Some(mut return_url) = return_url else {
        return Ok(Html(format!("Authentication {redirect_status}")).into_response());
    };
    return_url
        .query_pairs_mut()
        .append_pair("payment_intent", &intent)
        .append_pair("payment_intent_client_secret", &client_secret)
        .append_pair("redirect_status", redirect_status);
    Ok(Redirect::to(return_url.as_str()).into_response())
}
