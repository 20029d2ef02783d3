//! The endpoints: from HTTP to a command, and from what came of it back to HTTP.

use std::io;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::stream;
use serde_json::{Value, json};

use crate::{
    api_error::ApiError,
    extract::{PaymentIntentId, PostRequest, require_test_key},
    params::Params,
    provider::{CommandResponse, Provider},
    state::{Command, CommandOutcome},
};

/// More than the largest request, fifty notes of full length in Japanese, ever has.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// The least and the most that Stripe charges in yen.
const ALLOWED_AMOUNTS: std::ops::RangeInclusive<i64> = 50..=99_999_999;

/// All endpoints.
pub fn router(provider: Provider) -> Router {
    Router::new()
        .route("/v1/payment_intents", post(create_intent).get(list_intents))
        .route("/v1/payment_intents/{id}", get(show_intent))
        .route("/v1/payment_intents/{id}/confirm", post(confirm_intent))
        .route("/v1/payment_intents/{id}/cancel", post(cancel_intent))
        .route("/v1/refunds", post(create_refund).get(list_refunds))
        .route_layer(middleware::from_fn(require_test_key))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .fallback(|| async { ApiError::unknown_url() })
        .method_not_allowed_fallback(|| async { ApiError::unknown_url() })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(provider)
}

/// Makes a payment, and charges it if so asked.
async fn create_intent(
    State(provider): State<Provider>,
    PostRequest {
        idempotent_request: request,
        mut params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    let command = Command::Create {
        amount: parse_amount(&mut params)?,
        currency: parse_currency(&mut params)?,
        metadata: params.metadata()?,
        payment_method: params.payment_method()?,
        confirm: params.boolean("confirm")?,
    };
    if params
        .take_list("payment_method_types")
        .iter()
        .any(|name| name != "card")
    {
        return Err(ApiError::invalid_param(
            "payment_method_types",
            "payment_intent_invalid_parameter",
            "The only payment method type here is card.",
        ));
    }
    params.reject_unknown()?;
    provider.execute(request, command).await
}

/// Charges a payment.
async fn confirm_intent(
    State(provider): State<Provider>,
    PaymentIntentId(intent): PaymentIntentId,
    PostRequest {
        idempotent_request: request,
        mut params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    let command = Command::Confirm {
        intent,
        payment_method: params.payment_method()?,
    };
    params.reject_unknown()?;
    provider.execute(request, command).await
}

/// Closes a payment that was not charged.
async fn cancel_intent(
    State(provider): State<Provider>,
    PaymentIntentId(intent): PaymentIntentId,
    PostRequest {
        idempotent_request: request,
        params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    params.reject_unknown()?;
    provider.execute(request, Command::Cancel { intent }).await
}

/// Gives back all of a payment.
async fn create_refund(
    State(provider): State<Provider>,
    PostRequest {
        idempotent_request: request,
        mut params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    let command = Command::Refund {
        intent: params.required_string("payment_intent")?,
        metadata: params.metadata()?,
    };
    params.reject_unknown()?;
    provider.execute(request, command).await
}

/// Shows a payment.
async fn show_intent(
    State(provider): State<Provider>,
    PaymentIntentId(id): PaymentIntentId,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    params.reject_unknown()?;
    provider.with_state(|books| books.find_intent(&id).map(|intent| Json(intent.to_json())))
}

/// Shows payments, newest first.
async fn list_intents(State(provider): State<Provider>, mut params: Params) -> Result<Json<Value>, ApiError> {
    let page = PageRequest::from_params(&mut params)?;
    params.reject_unknown()?;
    provider.with_state(|books| {
        let newest_first = books
            .intents()
            .rev()
            .map(|intent| (intent.id.as_str(), || intent.to_json()));
        page.select("/v1/payment_intents", newest_first)
    })
}

/// Shows refunds, newest first; those of one payment if so asked.
async fn list_refunds(State(provider): State<Provider>, mut params: Params) -> Result<Json<Value>, ApiError> {
    let page = PageRequest::from_params(&mut params)?;
    let payment = params.optional_string("payment_intent")?;
    params.reject_unknown()?;
    provider.with_state(|books| {
        let newest_first = books
            .refunds()
            .rev()
            .filter(|refund| payment.as_ref().is_none_or(|id| refund.payment_intent == *id))
            .map(|refund| (refund.id.as_str(), || refund.to_json()));
        page.select("/v1/refunds", newest_first)
    })
}

fn parse_amount(params: &mut Params) -> Result<i64, ApiError> {
    let missing =
        || ApiError::invalid_param("amount", "parameter_missing", "Missing required param: amount.");
    let amount = params.optional_integer("amount")?.ok_or_else(missing)?;
    let (code, bound) = match amount {
        ..1 => ("parameter_invalid_integer", "greater than 0"),
        _ if amount < *ALLOWED_AMOUNTS.start() => ("amount_too_small", "at least ¥50"),
        _ if amount > *ALLOWED_AMOUNTS.end() => ("amount_too_large", "no more than ¥99,999,999"),
        _ => return Ok(amount),
    };
    Err(ApiError::invalid_param(
        "amount",
        code,
        format!("Amount must be {bound}."),
    ))
}

/// The shop trades in yen alone, and so does its stand-in for a provider.
fn parse_currency(params: &mut Params) -> Result<String, ApiError> {
    let currency = params.required_string("currency")?.to_ascii_lowercase();
    if currency != "jpy" {
        let message = "Invalid currency: this provider takes jpy.";
        return Err(ApiError {
            param: Some("currency".into()),
            ..ApiError::invalid_request(message)
        });
    }
    Ok(currency)
}

/// Which part of a list is wanted.
struct PageRequest {
    limit: usize,
    starting_after: Option<String>,
}

impl PageRequest {
    fn from_params(params: &mut Params) -> Result<Self, ApiError> {
        let limit = params.optional_integer("limit")?.unwrap_or(10);
        let limit = usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| {
                ApiError::invalid_param(
                    "limit",
                    "parameter_invalid_integer",
                    "Limit must be between 1 and 100.",
                )
            })?;
        Ok(Self {
            limit,
            starting_after: params.optional_string("starting_after")?,
        })
    }

    /// That part of `items`, which come with their ids.
    fn select<'a, W: Fn() -> Value>(
        &self,
        url: &str,
        mut items: impl Iterator<Item = (&'a str, W)>,
    ) -> Result<Json<Value>, ApiError> {
        if let Some(last) = &self.starting_after
            && !items.any(|(id, _)| id == last)
        {
            return Err(ApiError::resource_missing("object", "starting_after", last));
        }
        let data: Vec<Value> = items
            .by_ref()
            .take(self.limit)
            .map(|(_, to_wire)| to_wire())
            .collect();
        let has_more = items.next().is_some();
        Ok(Json(
            json!({ "object": "list", "url": url, "has_more": has_more, "data": data }),
        ))
    }
}

impl IntoResponse for CommandResponse {
    fn into_response(self) -> Response {
        match self {
            Self::New(answer) => answer.into_response(),
            Self::Replayed(answer) => ([("idempotent-replayed", "true")], answer).into_response(),
            // A body that fails makes the server close the connection.
            Self::Dropped => Response::new(Body::from_stream(stream::once(async {
                Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionAborted))
            }))),
        }
    }
}

impl IntoResponse for CommandOutcome {
    fn into_response(self) -> Response {
        match self {
            Self::Intent(intent) => Json(intent.to_json()).into_response(),
            Self::Refund(refund) => Json(refund.to_json()).into_response(),
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}
