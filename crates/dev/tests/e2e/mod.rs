//! What the end-to-end tests stand on: the real `holdfast` program, one process per service, on a Postgres and a RabbitMQ of
//! their own ([`house`]), Stripe's side of the wire ([`load`], [`events`], [`raw`]) and its forgers' ([`attacks`]), and a reader of what is left in the
//! database and the queues ([`books`]), which knows nothing of the code under test.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "support of tests: each of them uses a part, fails at the first surprise, and lives in real time"
)]

pub mod attacks;
pub mod books;
pub mod events;
pub mod house;
pub mod load;
pub mod raw;
