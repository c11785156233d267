//! Where the test servers are: the three variables that `cargo dev test` sets.
#![allow(
    clippy::disallowed_methods,
    reason = "tests are configured by the environment of the command that runs them, not by the service configuration"
)]

const DATABASE_URL: &str = "HOLDFAST_TEST_DATABASE_URL";
const AMQP_URL: &str = "HOLDFAST_TEST_AMQP_URL";
const RABBITMQ_API: &str = "HOLDFAST_TEST_RABBITMQ_API";

/// The URL of a Postgres superuser; each test gets a database of its own on that server.
pub(crate) fn database_url() -> String {
    required(DATABASE_URL)
}

/// The broker's AMQP URL; its vhost is replaced by the test's own.
pub(crate) fn amqp_url() -> String {
    required(AMQP_URL)
}

/// The base URL of the management API, with user and password in it.
pub(crate) fn rabbitmq_api() -> String {
    required(RABBITMQ_API)
}

fn required(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!(
            "{name} is not set: this test needs a Postgres and a RabbitMQ. Run `cargo dev test` (it starts both and sets \
             {DATABASE_URL}, {AMQP_URL} and {RABBITMQ_API}), or set the three to servers of yours."
        ),
    }
}
