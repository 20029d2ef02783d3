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
    books::{Answer, Command},
    incoming::{IntentId, Posted, with_test_key},
    params::Params,
    provider::{Provider, Reply},
    refusal::Refusal,
};

/// More than the largest request, fifty notes of full length in Japanese, ever has.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// The least and the most that Stripe charges in yen.
const AMOUNTS: std::ops::RangeInclusive<i64> = 50..=99_999_999;

/// All endpoints.
pub fn router(provider: Provider) -> Router {
    Router::new()
        .route("/v1/payment_intents", post(create_intent).get(list_intents))
        .route("/v1/payment_intents/{id}", get(find_intent))
        .route("/v1/payment_intents/{id}/confirm", post(confirm_intent))
        .route("/v1/payment_intents/{id}/cancel", post(cancel_intent))
        .route("/v1/refunds", post(create_refund).get(list_refunds))
        .route_layer(middleware::from_fn(with_test_key))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .fallback(|| async { Refusal::unknown_url() })
        .method_not_allowed_fallback(|| async { Refusal::unknown_url() })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(provider)
}

/// Makes a payment, and charges it if so asked.
async fn create_intent(
    State(provider): State<Provider>,
    Posted { request, mut params }: Posted,
) -> Result<Reply, Refusal> {
    let command = Command::Create {
        amount: amount(&mut params)?,
        currency: currency(&mut params)?,
        metadata: params.metadata()?,
        payment_method: params.payment_method()?,
        confirm: params.flag("confirm")?,
    };
    if params
        .list("payment_method_types")
        .iter()
        .any(|name| name != "card")
    {
        return Err(Refusal::invalid_param(
            "payment_method_types",
            "payment_intent_invalid_parameter",
            "The only payment method type here is card.",
        ));
    }
    params.finish()?;
    provider.execute(request, command).await
}

/// Charges a payment.
async fn confirm_intent(
    State(provider): State<Provider>,
    IntentId(intent): IntentId,
    Posted { request, mut params }: Posted,
) -> Result<Reply, Refusal> {
    let command = Command::Confirm {
        intent,
        payment_method: params.payment_method()?,
    };
    params.finish()?;
    provider.execute(request, command).await
}

/// Closes a payment that was not charged.
async fn cancel_intent(
    State(provider): State<Provider>,
    IntentId(intent): IntentId,
    Posted { request, params }: Posted,
) -> Result<Reply, Refusal> {
    params.finish()?;
    provider.execute(request, Command::Cancel { intent }).await
}

/// Gives back all of a payment.
async fn create_refund(
    State(provider): State<Provider>,
    Posted { request, mut params }: Posted,
) -> Result<Reply, Refusal> {
    let command = Command::Refund {
        intent: params.required("payment_intent")?,
        metadata: params.metadata()?,
    };
    params.finish()?;
    provider.execute(request, command).await
}

/// Shows a payment.
async fn find_intent(
    State(provider): State<Provider>,
    IntentId(id): IntentId,
    params: Params,
) -> Result<Json<Value>, Refusal> {
    params.finish()?;
    provider.read(|books| books.intent(&id).map(|intent| Json(intent.to_wire())))
}

/// Shows payments, newest first.
async fn list_intents(State(provider): State<Provider>, mut params: Params) -> Result<Json<Value>, Refusal> {
    let page = Page::take(&mut params)?;
    params.finish()?;
    provider.read(|books| {
        let newest_first = books
            .intents()
            .rev()
            .map(|intent| (intent.id.as_str(), || intent.to_wire()));
        page.of("/v1/payment_intents", newest_first)
    })
}

/// Shows refunds, newest first; those of one payment if so asked.
async fn list_refunds(State(provider): State<Provider>, mut params: Params) -> Result<Json<Value>, Refusal> {
    let page = Page::take(&mut params)?;
    let payment = params.text("payment_intent")?;
    params.finish()?;
    provider.read(|books| {
        let newest_first = books
            .refunds()
            .rev()
            .filter(|refund| payment.as_ref().is_none_or(|id| refund.payment_intent == *id))
            .map(|refund| (refund.id.as_str(), || refund.to_wire()));
        page.of("/v1/refunds", newest_first)
    })
}

fn amount(params: &mut Params) -> Result<i64, Refusal> {
    let missing = || Refusal::invalid_param("amount", "parameter_missing", "Missing required param: amount.");
    let amount = params.integer("amount")?.ok_or_else(missing)?;
    let (code, bound) = match amount {
        ..1 => ("parameter_invalid_integer", "greater than 0"),
        _ if amount < *AMOUNTS.start() => ("amount_too_small", "at least ¥50"),
        _ if amount > *AMOUNTS.end() => ("amount_too_large", "no more than ¥99,999,999"),
        _ => return Ok(amount),
    };
    Err(Refusal::invalid_param(
        "amount",
        code,
        format!("Amount must be {bound}."),
    ))
}

/// The shop trades in yen alone, and so does its stand-in for a provider.
fn currency(params: &mut Params) -> Result<String, Refusal> {
    let currency = params.required("currency")?.to_ascii_lowercase();
    if currency != "jpy" {
        let message = "Invalid currency: this provider takes jpy.";
        return Err(Refusal {
            param: Some("currency".into()),
            ..Refusal::invalid(message)
        });
    }
    Ok(currency)
}

/// Which part of a list is wanted.
struct Page {
    limit: usize,
    starting_after: Option<String>,
}

impl Page {
    fn take(params: &mut Params) -> Result<Self, Refusal> {
        let limit = params.integer("limit")?.unwrap_or(10);
        let limit = usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| {
                Refusal::invalid_param(
                    "limit",
                    "parameter_invalid_integer",
                    "Limit must be between 1 and 100.",
                )
            })?;
        Ok(Self {
            limit,
            starting_after: params.text("starting_after")?,
        })
    }

    /// That part of `items`, which come with their ids.
    fn of<'a, W: Fn() -> Value>(
        &self,
        url: &str,
        mut items: impl Iterator<Item = (&'a str, W)>,
    ) -> Result<Json<Value>, Refusal> {
        if let Some(last) = &self.starting_after
            && !items.any(|(id, _)| id == last)
        {
            return Err(Refusal::no_such("object", "starting_after", last));
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

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::New(answer) => answer.into_response(),
            Self::Replayed(answer) => ([("idempotent-replayed", "true")], answer).into_response(),
            // A body that fails makes the server close the connection.
            Self::Lost => Response::new(Body::from_stream(stream::once(async {
                Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionAborted))
            }))),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Intent(intent) => Json(intent.to_wire()).into_response(),
            Self::Refund(refund) => Json(refund.to_wire()).into_response(),
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}
