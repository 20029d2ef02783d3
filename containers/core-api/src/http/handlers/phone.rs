//! `/v1/me/phone`: the telephone number of the caller's account, to which SMS about orders go.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use domain::Timestamp;
use http_server::{Bearer, Json, Problem, TraceContext};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokens::Permission;
use users::{PhoneCodeError, PhoneVerificationError};
use utoipa::ToSchema;

use crate::{
    accounts::{MobileNumber, VerificationCode},
    http::{
        ApiError, SharedState,
        extractors::{AuditContext, Authorized, permission},
        handlers::account::{etag_header, own_profile},
        responses::account::AccountResponse,
    },
    phone_codes::SendPhoneCodeError,
};

/// A telephone number to verify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhoneRequest {
    phone_number: MobileNumber,
}

/// The code that was sent to a telephone number.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhoneVerificationRequest {
    code: VerificationCode,
}

/// The number to which a code is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PhoneVerification)]
pub struct PhoneVerificationResponse {
    phone_number: MobileNumber,
    /// The time until which the code is valid, 10 minutes from now.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Sends a code of six digits to a telephone number by SMS.
///
/// The number becomes the account's number when `POST /v1/me/phone/verification` confirms the code. Until
/// then the account keeps its present number. A new code replaces the one before. An account gets at most 5
/// codes in an hour and 10 in a day, a number 5 in a day.
#[utoipa::path(
    put, path = "/v1/me/phone", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    request_body = PhoneRequest,
    responses((status = 202, description = "The code is sent", body = PhoneVerificationResponse)),
)]
pub async fn request_phone_code(
    State(app): State<SharedState>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    audit: AuditContext,
    TraceContext(trace): TraceContext,
    Json(PhoneRequest { phone_number }): Json<PhoneRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let language = user.preferences.language;
    let entry = audit.audit_entry(user.id, "phone_code_requested", user.id, json!({}));
    let sent = app
        .phone_codes
        .send(user.id, &phone_number, language, trace, &entry);
    let expires_at = sent.await?;
    let response = PhoneVerificationResponse {
        phone_number,
        expires_at,
    };
    Ok((StatusCode::ACCEPTED, Json(response)))
}

/// Verifies the telephone number with the code that was sent to it.
///
/// The number becomes the account's number. SMS about orders go to it from now on, also about those that were
/// placed with another number. A code can be tried 5 times.
#[utoipa::path(
    post, path = "/v1/me/phone/verification", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    request_body = PhoneVerificationRequest,
    responses((status = 200, description = "The account", body = AccountResponse,
               headers(("ETag" = String, description = "The version of the account")))),
)]
pub async fn verify_phone(
    State(app): State<SharedState>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    audit: AuditContext,
    Json(PhoneVerificationRequest { code }): Json<PhoneVerificationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let entry = audit.audit_entry(user.id, "phone_number_verified", user.id, json!({}));
    let code = code.as_str().to_owned().into();
    let phone_number = app.users.verify_phone_code(user.id, &code, &entry).await?;
    // The next order must use the new number.
    app.account_status.invalidate(user.id).await;
    // After the account: the orders that were placed meanwhile are among them.
    app.orders
        .change_phone_number(user.id, Some(&phone_number))
        .await?;
    let profile = own_profile(&app.users, user.id).await?;
    Ok((etag_header(&profile), Json(AccountResponse::from(profile))))
}

/// Removes the telephone number from the account, and sets the preference `order_sms` to false.
///
/// Ends SMS about orders that were placed before as well. Has the same response if there is no number.
#[utoipa::path(
    delete, path = "/v1/me/phone", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses((status = 204, description = "The account has no telephone number")),
)]
pub async fn remove_phone(
    State(app): State<SharedState>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    audit: AuditContext,
) -> Result<StatusCode, ApiError> {
    let entry = audit.audit_entry(user.id, "phone_number_removed", user.id, json!({}));
    app.users.remove_phone_number(user.id, &entry).await?;
    app.account_status.invalidate(user.id).await;
    // After the account: the orders that were placed meanwhile are among them.
    app.orders.change_phone_number(user.id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<SendPhoneCodeError> for ApiError {
    fn from(error: SendPhoneCodeError) -> Self {
        match error {
            SendPhoneCodeError::Code(PhoneCodeError::TooManyCodes) => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-phone-codes",
                "Too many codes requested",
            )
            .detail(
                "Too many codes were requested for this account, for this number or in all. Try again later.",
            )
            .header(header::RETRY_AFTER, HeaderValue::from_static("3600"))
            .into(),
            // The account was deleted during the request.
            SendPhoneCodeError::Code(PhoneCodeError::AccountNotFound) => Bearer::unauthorized().into(),
            SendPhoneCodeError::Code(PhoneCodeError::Database(error)) => error.into(),
            SendPhoneCodeError::Queue(_) => Problem::dependency_unavailable(&error).into(),
        }
    }
}

impl From<PhoneVerificationError> for ApiError {
    fn from(error: PhoneVerificationError) -> Self {
        match error {
            PhoneVerificationError::InvalidCode { attempts_left } => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-phone-code",
                "Invalid code",
            )
            .detail(
                "The code is wrong, has expired or was tried too often. It can be tried `attempts_left` times; \
                 if that is 0, request a new one with PUT /v1/me/phone.",
            )
            .extension("attempts_left", attempts_left)
            .into(),
            PhoneVerificationError::Database(error) => error.into(),
        }
    }
}
