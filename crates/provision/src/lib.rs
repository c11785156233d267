//! Private Postgres and RabbitMQ servers for development and tests.
//!
//! A server comes, in this order, from: a URL that was given, binaries found on the machine, Docker, or (on Debian and Ubuntu
//! as root) `apt-get install`, which is announced first. If none of them works there is one error with the command that
//! would help on this platform.
//!
//! Protocol of a private server, and why it is safe:
//! - It lives below one folder with ports, credentials, data and logs of its own, listens on loopback only, and touches
//!   nothing else of the machine.
//! - The folder is claimed with a lock ([`Claim`]) that the kernel releases when the owner dies, however it dies. Who holds
//!   the claim may end any process that a pid file in the folder names (compared by start time, so that a number that was
//!   given to somebody else is left alone).
//! - Every child gets a parent-death signal (`setpriv --pdeathsig`) from a thread that lives as long as the process (the
//!   signal follows the thread, not the process), and a process group of its own, so that Ctrl-C reaches only the owner,
//!   which then stops its children in order.

mod broker;
mod broker_files;
mod claim;
mod container;
mod error;
mod kept_word;
mod machine;
mod packages;
mod policy;
mod ports;
mod postgres;
mod postgres_files;
mod process;
mod server;

pub use broker::{Broker, BrokerOptions};
pub use claim::{Claim, sweep};
pub use error::Error;
pub use machine::{ProcessId, find_program};
pub use nix::sys::signal::Signal;
pub use packages::{Tool, ensure_tools};
pub use ports::{free_ports, preferred_port};
pub use postgres::{Durability, Postgres, PostgresOptions};
pub use process::{Process, Spec, spawn_tied, tied_command};

/// Where a step tells the user what it is doing, one line at a time.
pub type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);
