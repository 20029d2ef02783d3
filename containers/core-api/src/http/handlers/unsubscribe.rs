//! `/v1/unsubscribe`: the links in order mails with which customers unsubscribe (RFC 8058).
//!
//! Mail programs send the POST request themselves, without cookies and without showing a page. Programs that
//! scan mails open links with GET, so that request changes nothing.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse},
};
use http_server::{Problem, Query};
use serde::Deserialize;
use serde_json::json;

use crate::http::{ApiError, SharedState, extractors::AuditContext};

/// The page consists of text and of a form that sends its request to this API.
const PAGE_SECURITY_POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
);

/// The form has no action, so a browser sends it to the address of the page, with the token.
const FORM_PAGE: &str = "<!doctype html>
<html>
<head><meta charset=\"utf-8\"><title>Matsuri</title><meta name=\"robots\" content=\"noindex\"></head>
<body>
<p lang=\"en\">Stop mails about your orders? You will still receive the mail that confirms a completed order.</p>
<p lang=\"ja\">ご注文に関するメールの配信を停止しますか？ご注文確定のメールは引き続きお送りします。</p>
<form method=\"post\"><button>Unsubscribe / 配信を停止する</button></form>
</body>
</html>
";

const DONE_PAGE: &str = "<!doctype html>
<html>
<head><meta charset=\"utf-8\"><title>Matsuri</title><meta name=\"robots\" content=\"noindex\"></head>
<body>
<p lang=\"en\">You will receive no more mails about your orders, except the mail that confirms a completed order. \
You can change this in your account.</p>
<p lang=\"ja\">ご注文に関するメールの配信を停止しました。ご注文確定のメールは引き続きお送りします。\
設定はマイページで変更できます。</p>
</body>
</html>
";

/// The query of an unsubscribe link.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LinkParameters {
    /// The token in the link of the mail.
    token: String,
}

/// Shows a page with a button that unsubscribes. Changes nothing.
#[utoipa::path(
    get, path = "/v1/unsubscribe", tag = "Account",
    extensions(("x-permission" = json!("anyone"))),
    params(LinkParameters),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
pub async fn show_unsubscribe_page(
    State(app): State<SharedState>,
    Query(link): Query<LinkParameters>,
) -> Result<impl IntoResponse, ApiError> {
    let user_id = app.unsubscribe_links.verify(&link.token).await?;
    user_id.ok_or_else(invalid_link)?;
    Ok(([PAGE_SECURITY_POLICY], Html(FORM_PAGE)))
}

/// Sets the preference `order_mails` of the account to false, for open orders as well.
///
/// Mail programs call this (RFC 8058). A body is ignored, and a repetition has the same response.
#[utoipa::path(
    post, path = "/v1/unsubscribe", tag = "Account",
    extensions(("x-permission" = json!("anyone"))),
    params(LinkParameters),
    responses((status = 200, description = "A page that confirms it", body = String,
               content_type = "text/html")),
)]
pub async fn unsubscribe(
    State(app): State<SharedState>,
    audit: AuditContext,
    Query(link): Query<LinkParameters>,
) -> Result<impl IntoResponse, ApiError> {
    let user_id = app.unsubscribe_links.verify(&link.token).await?;
    let user_id = user_id.ok_or_else(invalid_link)?;
    let entry = audit.audit_entry(None, "order_mails_unsubscribed", user_id, json!({}));
    app.users.stop_order_mails(user_id, &entry).await?;
    // The next order must use the new preference.
    app.account_status.invalidate(user_id).await;
    // After the account: an order that was placed meanwhile is among the open ones.
    app.orders.stop_order_mails(user_id).await?;
    Ok(([PAGE_SECURITY_POLICY], Html(DONE_PAGE)))
}

fn invalid_link() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-unsubscribe-link",
        "Invalid unsubscribe link",
    )
    .detail("Open the link of the mail unchanged, or change the preference `order_mails` of your account.")
}
