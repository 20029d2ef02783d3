//! The parts of the system under every fault. The tests of this module run concurrently, and each of their
//! cases has its own customer: they wait most of the time, for messages that become visible again.
//!
//! They are in one module because the test harness starts tests in the order of their names: between two of
//! them, a test that needs the system for itself would end their concurrency.

mod mail_feedback;
mod saga_matrix;
mod sms;
