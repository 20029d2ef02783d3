//! A payment provider for laptops and tests. It speaks Stripe's wire protocol for the little that a shop
//! needs of it: PaymentIntents and full refunds, in JPY, with Stripe's idempotency keys and errors. No
//! program of ours can tell it from Stripe, and no money moves.
//!
//! ```text
//! POST /v1/payment_intents                 amount, currency, payment_method, confirm, metadata[…]
//! GET  /v1/payment_intents/{id}
//! POST /v1/payment_intents/{id}/confirm    payment_method
//! POST /v1/payment_intents/{id}/cancel
//! GET  /v1/payment_intents                 limit, starting_after
//! POST /v1/refunds                         payment_intent, metadata[…]
//! GET  /v1/refunds                         limit, starting_after, payment_intent
//! GET  /health
//! ```
//!
//! Any test key (`sk_test_…`) is let in, by `Bearer` or as the user of basic authentication. What a payment
//! comes to is chosen by its payment method: [`methods`] lists them, with the troubles they make.
//!
//! **Idempotency.** A request is answered once per key. The same key with the same request gets the first
//! answer again, with its status and the header `Idempotent-Replayed: true`; with another request it gets a
//! 400, and while the first is still under way a 409. As with Stripe, an answer is kept when the request was
//! carried out, also if it came to a refusal, and is not when it never was: what fails validation or
//! authentication, and the troubles *before* an effect (`pm_error_before_effect`, `pm_unavailable`,
//! `pm_broken`), which stand for failures in front of the API. A retry of those is carried out for real.
//! Keys are kept for ever; Stripe forgets them after a day.
//!
//! **Durability.** Every answer is appended to a ledger before it is given ([`ledger`]), and all state is
//! what the ledger's answers say, so the books balance after a kill at any moment. A client that hangs up
//! does not stop what it has begun.

pub mod api_error;
pub mod config;
pub mod extract;
pub mod ledger;
pub mod params;
pub mod provider;
pub mod resources;
pub mod routes;
pub mod state;
pub mod test_payment_methods;

pub use config::Config;
pub use provider::Provider;
pub use routes::router;
