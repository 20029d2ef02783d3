//! core-api: the catalogue, accounts, carts and orders over HTTP. It is the only writer of products and of carts, and
//! what takes orders in; the saga carries them on. This library is the program without its start, so that tests can start it too.

pub mod carts;
pub mod catalogue;
pub mod config;
pub mod cursor;
pub mod dynamo;
pub mod http;
pub mod limits;
pub mod ordering;
pub mod people;
pub mod peoples_keys;
