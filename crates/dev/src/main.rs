//! `cargo dev`: the whole system on one machine, without anything installed before but the Rust toolchain.

use std::process::ExitCode;

fn main() -> ExitCode {
    dev::cli::main()
}
