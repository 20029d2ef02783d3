//! The fault-injecting proxies between a service and its upstreams.

mod http;
mod operation_name;
mod postgres;
mod postgres_tls;

pub use http::serve as serve_http;
pub use postgres::serve as serve_postgres;
pub use postgres_tls::{PostgresTls, PostgresTlsError};
