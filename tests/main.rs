//! Tests of the system as a whole: real sockets, real files, real processes, embedded stores.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails, and says what it knows")]

mod api;
mod architecture;
mod audit;
mod bad_input;
mod caller;
mod cancel;
mod check;
mod clock;
mod commands;
mod definition;
mod documents;
mod events;
mod first_day;
mod healing;
mod histories;
mod hostile;
mod idempotency;
mod lab;
mod lease;
mod metrics;
mod openapi;
mod owners;
mod pages;
mod reading;
mod rounds;
mod runbooks;
mod scripts;
mod signature;
mod store;
mod systemd;
mod unit;
mod wire;
mod worker;
