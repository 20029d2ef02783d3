//! What goes out about people, as JSON.

use domain::{Timestamp, UserId};
use orders::Order;
use serde::Serialize;
use serde_json::Value;
use tokens::Role;
use users::{Address, AuditEntry, LinkedIdentity, Profile};
use utoipa::ToSchema;
use uuid::Uuid;

use super::order_response::OrderResponse;
use crate::{accounts::PreferencesResponse, carts::CartLine};

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountResponse {
    /// Whose.
    #[schema(value_type = Uuid)]
    id: UserId,
    /// Where mail reaches them.
    email: String,
    /// Whether the address was found to be theirs.
    email_verified: bool,
    /// How they want to be called.
    name: String,
    /// What they may do.
    #[schema(value_type = RoleSchema)]
    role: Role,
    /// How they want to be written to.
    preferences: PreferencesResponse,
    /// When they registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When anything here changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What a person may do.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the documentation of tokens::Role, which knows no OpenAPI"
)]
pub enum RoleSchema {
    Customer,
    Support,
    Admin,
}

impl From<Profile> for AccountResponse {
    fn from(Profile { user, preferences }: Profile) -> Self {
        Self {
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

/// Some of the accounts, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountPage {
    /// The page.
    pub items: Vec<AccountResponse>,
    /// What to ask for the next page with; null when this is the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// An address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Address)]
pub struct AddressResponse {
    /// Which.
    id: Uuid,
    /// To whom.
    recipient: String,
    /// Which country (ISO 3166-1).
    country: String,
    /// The postal code.
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
    /// Whom the carrier calls.
    #[schema(required)]
    phone: Option<String>,
    /// Since when it is there.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it changed last.
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

/// All of a person's addresses, oldest first. There are twenty at most.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Addresses)]
pub struct AddressesResponse {
    /// The addresses.
    pub items: Vec<AddressResponse>,
}

/// Something that was done, or tried.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryResponse {
    /// Which.
    id: Uuid,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who did it; null where nobody was signed in.
    #[schema(value_type = Option<Uuid>, required)]
    actor: Option<UserId>,
    /// What.
    #[schema(example = "role_changed")]
    action: String,
    /// Whom or what it was done to.
    #[schema(required)]
    subject: Option<String>,
    /// From where, as the front door saw it.
    #[schema(required)]
    address: Option<String>,
    /// The trace of the request.
    #[schema(required)]
    trace_id: Option<String>,
    /// What else there is to know.
    #[schema(value_type = Object)]
    details: Value,
}

impl From<AuditEntry> for AuditEntryResponse {
    fn from(record: AuditEntry) -> Self {
        Self {
            id: record.id,
            at: record.recorded_at,
            actor: record.actor,
            action: record.action,
            subject: record.subject,
            address: record.client_ip,
            trace_id: record.trace_id,
            details: record.details,
        }
    }
}

/// Some of the audit log, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// The page.
    pub items: Vec<AuditEntryResponse>,
    /// What to ask for the next page with; null when this is the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Everything that is held of a person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Export)]
pub struct DataExportResponse {
    /// The account.
    pub account: AccountResponse,
    /// By which providers they sign in.
    pub identities: Vec<LinkedIdentityResponse>,
    /// Their addresses.
    pub addresses: Vec<AddressResponse>,
    /// Their orders, newest first.
    pub orders: Vec<ExportedOrderResponse>,
    /// What is in their cart.
    pub cart: Vec<ExportedCartLineResponse>,
    /// What they did, and what was done to them, oldest first.
    pub audit: Vec<AuditEntryResponse>,
}

/// A provider's account by which somebody may sign in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Identity)]
pub struct LinkedIdentityResponse {
    /// Whose account.
    #[schema(example = "google")]
    provider: String,
    /// The provider's own name of it.
    subject: String,
    /// Since when.
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

/// An order with what is not shown of it elsewhere.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedOrder)]
pub struct ExportedOrderResponse {
    /// The order.
    order: OrderResponse,
    /// Where mail about it goes.
    contact_email: String,
    /// The payment provider's name of what pays.
    payment_method: String,
}

impl From<Order> for ExportedOrderResponse {
    fn from(order: Order) -> Self {
        Self {
            contact_email: order.contact_email.clone(),
            payment_method: order.payment_method.clone(),
            order: OrderResponse::with_history(order),
        }
    }
}

/// So many pieces of a product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedLine)]
pub struct ExportedCartLineResponse {
    /// Which product.
    product_id: Uuid,
    /// How many pieces of it.
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
