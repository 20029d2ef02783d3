//! The endpoints: they convert requests to commands and outcomes to responses.

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
    authentication_page,
    extract::{PaymentIntentId, PostRequest, require_test_key},
    params::Params,
    provider::{CommandResponse, Provider},
    state::{Command, CommandOutcome},
};

/// Above the largest valid request, which has 50 metadata entries of maximum length in Japanese.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// Stripe's minimum and maximum charge amounts in yen.
const ALLOWED_AMOUNTS: std::ops::RangeInclusive<i64> = 50..=99_999_999;

pub fn router(provider: Provider) -> Router {
    Router::new()
        .route("/v1/payment_intents", post(create_intent).get(list_intents))
        .route("/v1/payment_intents/{id}", get(show_intent))
        .route("/v1/payment_intents/{id}/confirm", post(confirm_intent))
        .route("/v1/payment_intents/{id}/cancel", post(cancel_intent))
        .route("/v1/refunds", post(create_refund).get(list_refunds))
        .route("/v1/disputes", get(list_disputes))
        .route_layer(middleware::from_fn(require_test_key))
        .merge(authentication_page::routes())
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .fallback(|| async { ApiError::unknown_url() })
        .method_not_allowed_fallback(|| async { ApiError::unknown_url() })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(provider)
}

/// Creates a payment. Charges it when `confirm` is `true`.
async fn create_intent(
    State(provider): State<Provider>,
    PostRequest {
        idempotent_request,
        mut params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    let command = Command::Create {
        amount: parse_amount(&mut params)?,
        currency: parse_currency(&mut params)?,
        metadata: params.metadata()?,
        payment_method: params.payment_method()?,
        confirm: params.boolean("confirm")?,
        return_url: params.url("return_url")?,
    };
    if params
        .take_list("payment_method_types")
        .iter()
        .any(|name| name != "card")
    {
        return Err(ApiError::invalid_param(
            "payment_method_types",
            "payment_intent_invalid_parameter",
            "This provider supports only the payment method type card.",
        ));
    }
    params.reject_unknown()?;
    provider.execute(idempotent_request, command).await
}

/// Charges a payment.
async fn confirm_intent(
    State(provider): State<Provider>,
    PaymentIntentId(intent): PaymentIntentId,
    PostRequest {
        idempotent_request,
        mut params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    let command = Command::Confirm {
        intent,
        payment_method: params.payment_method()?,
        return_url: params.url("return_url")?,
    };
    params.reject_unknown()?;
    provider.execute(idempotent_request, command).await
}

/// Cancels a payment that was not charged.
async fn cancel_intent(
    State(provider): State<Provider>,
    PaymentIntentId(intent): PaymentIntentId,
    PostRequest {
        idempotent_request,
        params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    params.reject_unknown()?;
    provider
        .execute(idempotent_request, Command::Cancel { intent })
        .await
}

/// Refunds the whole amount of a payment.
async fn create_refund(
    State(provider): State<Provider>,
    PostRequest {
        idempotent_request,
        mut params,
    }: PostRequest,
) -> Result<CommandResponse, ApiError> {
    let command = Command::Refund {
        intent: params.required_string("payment_intent")?,
        metadata: params.metadata()?,
    };
    params.reject_unknown()?;
    provider.execute(idempotent_request, command).await
}

async fn show_intent(
    State(provider): State<Provider>,
    PaymentIntentId(id): PaymentIntentId,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    params.reject_unknown()?;
    provider.with_state(|state| state.find_intent(&id).map(|intent| Json(intent.to_json())))
}

/// Lists payments, newest first.
async fn list_intents(State(provider): State<Provider>, mut params: Params) -> Result<Json<Value>, ApiError> {
    let page = PageRequest::from_params(&mut params)?;
    params.reject_unknown()?;
    provider.with_state(|state| {
        let newest_first = state
            .intents()
            .rev()
            .map(|intent| (intent.id.as_str(), || intent.to_json()));
        page.select("/v1/payment_intents", newest_first)
    })
}

/// Lists refunds, newest first. The parameter `payment_intent` restricts the list to one payment, which must
/// exist.
async fn list_refunds(State(provider): State<Provider>, mut params: Params) -> Result<Json<Value>, ApiError> {
    let page = PageRequest::from_params(&mut params)?;
    let payment = params.optional_string("payment_intent")?;
    params.reject_unknown()?;
    provider.with_state(|state| {
        if let Some(id) = payment.as_deref()
            && state.find_intent(id).is_err()
        {
            return Err(ApiError::resource_missing("payment_intent", "payment_intent", id));
        }
        let newest_first = state
            .refunds()
            .rev()
            .filter(|refund| payment.as_ref().is_none_or(|id| refund.payment_intent == *id))
            .map(|refund| (refund.id.as_str(), || refund.to_json()));
        page.select("/v1/refunds", newest_first)
    })
}

/// Lists disputes, newest first.
async fn list_disputes(
    State(provider): State<Provider>,
    mut params: Params,
) -> Result<Json<Value>, ApiError> {
    let page = PageRequest::from_params(&mut params)?;
    params.reject_unknown()?;
    provider.with_state(|state| {
        let newest_first = state
            .disputes()
            .rev()
            .map(|dispute| (dispute.id.as_str(), || dispute.to_json()));
        page.select("/v1/disputes", newest_first)
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

/// The platform sells in yen only, so the simulator supports no other currency.
fn parse_currency(params: &mut Params) -> Result<String, ApiError> {
    let currency = params.required_string("currency")?.to_ascii_lowercase();
    if currency != "jpy" {
        let message = "Invalid currency: this provider supports only jpy.";
        return Err(ApiError {
            param: Some("currency".into()),
            ..ApiError::invalid_request(message)
        });
    }
    Ok(currency)
}

/// The requested page of a list.
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

    /// Returns the page of `items`, which are pairs of id and serialiser.
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
            .map(|(_, to_json)| to_json())
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
            Self::New(outcome) => outcome.into_response(),
            Self::Replayed(outcome) => ([("idempotent-replayed", "true")], outcome).into_response(),
            // The server closes the connection when the body stream fails.
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
            Self::Dispute(dispute) => Json(dispute.to_json()).into_response(),
            Self::Rejected(error) => error.into_response(),
        }
    }
}
