//! A payment provider simulator for development and tests. It implements the part of Stripe's HTTP API that
//! the platform uses: PaymentIntents and full refunds in JPY, with Stripe's idempotency keys and errors. Our
//! services cannot distinguish it from Stripe. No money moves.
//!
//! ```text
//! POST /v1/payment_intents                 amount, currency, payment_method, confirm, metadata[…],
//! return_url GET  /v1/payment_intents/{id} POST /v1/payment_intents/{id}/confirm    payment_method,
//! return_url POST /v1/payment_intents/{id}/cancel GET  /v1/payment_intents                 limit,
//! starting_after POST /v1/refunds                         payment_intent, metadata[…] GET  /v1/refunds
//! limit, starting_after, payment_intent GET  /v1/disputes                        limit, starting_after GET
//! /authenticate/{payment}/{attempt}   the page of a customer who must authenticate GET  /health
//! ```
//!
//! Every test key (`sk_test_…`) is accepted, as bearer token or as the user name of basic authentication. The
//! payment method determines the outcome of a charge: [`test_payment_methods`] lists the methods and the
//! failures that they inject.
//!
//! **Idempotency.** A command is executed at most once per idempotency key. A repeated request with the same
//! key gets the first response again, with its status and the header `Idempotent-Replayed: true`. A different
//! request with the same key gets a 400, and a request gets a 409 while another one with the same key is in
//! progress. As with Stripe, the response to an executed command is stored even if it is an error: a declined
//! card or a 500. Validation and authentication errors are not stored, and neither is the 503 of
//! `pm_unavailable`, which simulates a failure in front of the API: a retry executes the command. Unlike
//! Stripe, which forgets keys after a day, the simulator keeps them forever.
//!
//! **Events.** With `WEBHOOK_URL`, the provider sends signed [`events`] about charges, cancellations, refunds
//! and disputes to that URL.
//!
//! **3D Secure.** Some payment methods require the customer to authenticate. The confirmation then returns
//! the status `requires_action` with the URL of a page, on which the customer approves or denies the payment.
//! The page sends the customer to the `return_url` of the confirmation.
//!
//! **Durability.** Every outcome is appended to a [`ledger`] before the response is sent. The state is
//! rebuilt from the ledger at startup, so it is consistent after a crash at any moment. A client that
//! disconnects does not stop its command.

pub mod api_error;
mod authentication_page;
pub mod config;
pub mod events;
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
