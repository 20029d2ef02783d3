//! The commands, one module each.

pub mod bench;
pub mod chaos;
pub mod deploy;
pub mod down;
pub mod keys;
pub mod logs;
pub mod mail;
pub mod openapi;
pub mod order;
pub mod redrive;
pub mod repeat;
pub mod replay;
pub mod sms;
pub mod sqlx;
pub mod status;
pub mod test;
pub mod token;
pub mod up;
pub mod watch;
