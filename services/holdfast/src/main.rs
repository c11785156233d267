//! The one binary of Holdfast; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Whatever speaks TLS takes this provider, and reqwest refuses to start without one. An error means: installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    holdfast::main()
}
