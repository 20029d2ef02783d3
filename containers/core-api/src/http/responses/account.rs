//! Accounts, addresses, the audit log and the data export as JSON.

use domain::{Timestamp, UserId};
use orders::Order;
use serde::Serialize;
use serde_json::Value;
use tokens::Role;
use users::{Address, AuditEntry, LinkedIdentity, Profile};
use utoipa::ToSchema;
use uuid::Uuid;

use super::order::OrderResponse;
use crate::{accounts::PreferencesResponse, carts::CartLine};

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountResponse {
    #[schema(value_type = Uuid)]
    id: UserId,
    email: String,
    /// Whether the user has verified the e-mail address.
    email_verified: bool,
    /// The display name.
    name: String,
    #[schema(value_type = RoleSchema)]
    role: Role,
    /// The telephone number in the format E.164, which the user has verified.
    #[schema(required, example = "+819012345678")]
    phone_number: Option<String>,
    preferences: PreferencesResponse,
    /// The time of the registration.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The time of the last change of the account.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The role of a user, which determines the user's permissions.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the OpenAPI schema of tokens::Role, whose crate does not depend on utoipa"
)]
pub enum RoleSchema {
    Customer,
    Support,
    Admin,
}

impl From<Profile> for AccountResponse {
    fn from(
        Profile {
            user,
            preferences,
            phone_number,
        }: Profile,
    ) -> Self {
        Self {
            phone_number,
            id: user.id,
            email: user.email,
            email_verified: user.email_verified_at.is_some(),
            name: user.name,
            role: user.role,
            preferences: preferences.into(),
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// A page of accounts, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountPage {
    pub items: Vec<AccountResponse>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A postal address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Address)]
pub struct AddressResponse {
    id: Uuid,
    /// The name of the recipient.
    recipient: String,
    /// The country code (ISO 3166-1 alpha-2).
    country: String,
    postal_code: String,
    /// Prefecture, state or province.
    region: String,
    /// City or town.
    city: String,
    /// Street and number.
    line1: String,
    /// Building and floor.
    #[schema(required)]
    line2: Option<String>,
    /// The telephone number for the carrier.
    #[schema(required)]
    phone: Option<String>,
    /// The time at which the address was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The time of the last change.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Address> for AddressResponse {
    fn from(address: Address) -> Self {
        let details = address.details;
        Self {
            id: address.id,
            recipient: details.recipient,
            country: details.country,
            postal_code: details.postal_code,
            region: details.region,
            city: details.city,
            line1: details.line1,
            line2: details.line2,
            phone: details.phone,
            created_at: address.created_at,
            updated_at: address.updated_at,
        }
    }
}

/// The caller's addresses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Addresses)]
pub struct AddressesResponse {
    /// The addresses, oldest first; at most 20.
    pub items: Vec<AddressResponse>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryResponse {
    id: Uuid,
    /// The time of the action.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The user who performed the action; null for an unauthenticated request.
    #[schema(value_type = Option<Uuid>, required)]
    actor: Option<UserId>,
    /// The action.
    #[schema(example = "role_changed")]
    action: String,
    /// The object of the action, for example a user id.
    #[schema(required)]
    subject: Option<String>,
    /// The client's IP address as seen by the API gateway.
    #[schema(required)]
    address: Option<String>,
    /// The trace id of the request.
    #[schema(required)]
    trace_id: Option<String>,
    /// Additional facts, depending on the action.
    #[schema(value_type = Object)]
    details: Value,
}

impl From<AuditEntry> for AuditEntryResponse {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.recorded_at,
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
            address: entry.client_ip,
            trace_id: entry.trace_id,
            details: entry.details,
        }
    }
}

/// A page of the audit log, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    pub items: Vec<AuditEntryResponse>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// All personal data that the system stores about the caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Export)]
pub struct DataExportResponse {
    pub account: AccountResponse,
    /// The linked accounts at sign-in providers.
    pub identities: Vec<LinkedIdentityResponse>,
    pub addresses: Vec<AddressResponse>,
    /// The orders, newest first.
    pub orders: Vec<ExportedOrderResponse>,
    /// The products in the cart.
    pub cart: Vec<ExportedCartLineResponse>,
    /// The audit log entries with the user as actor or subject, oldest first.
    pub audit: Vec<AuditEntryResponse>,
}

/// A linked account at a sign-in provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Identity)]
pub struct LinkedIdentityResponse {
    #[schema(example = "google")]
    provider: String,
    /// The provider's id of the account.
    subject: String,
    /// The time at which the account was linked.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<LinkedIdentity> for LinkedIdentityResponse {
    fn from(identity: LinkedIdentity) -> Self {
        Self {
            provider: identity.provider,
            subject: identity.subject,
            created_at: identity.created_at,
        }
    }
}

/// An order including the personal data that other responses omit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedOrder)]
pub struct ExportedOrderResponse {
    order: OrderResponse,
    /// The e-mail address for order mails.
    contact_email: String,
    /// The telephone number for SMS about the order.
    #[schema(required)]
    phone_number: Option<String>,
    /// The payment provider's id of the payment method.
    payment_method: String,
}

impl From<Order> for ExportedOrderResponse {
    fn from(order: Order) -> Self {
        Self {
            contact_email: order.contact_email.clone(),
            phone_number: order
                .sms_contact
                .as_ref()
                .map(|contact| contact.phone_number.clone()),
            payment_method: order.payment_method.clone(),
            order: OrderResponse::with_history(order),
        }
    }
}

/// A product in the cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedLine)]
pub struct ExportedCartLineResponse {
    product_id: Uuid,
    /// The number of units.
    quantity: u32,
}

impl From<CartLine> for ExportedCartLineResponse {
    fn from(line: CartLine) -> Self {
        Self {
            product_id: line.product_id.0,
            quantity: line.quantity.get(),
        }
    }
}
