//! A second opinion: Stripe's own package for Node plays an escrow against the simulator.
//!
//! Needs `node` with `npm`. The package is the one that the tests of `stripe-gateway` lock; it is installed once, below Cargo's target folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use stripe_sim::SimConfig;

const HINT: &str = "install Node.js 18 or newer with npm (Debian, Ubuntu: apt-get install nodejs npm)";
const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{shown} cannot be started ({error}): {HINT}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{shown} failed with {}: {HINT}\n{errors}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with the package in it, made under another name and moved when it is complete.
fn installed() -> PathBuf {
    let locks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stripe-gateway/tests/sdk");
    let version = run(Command::new("node").arg("--version"));
    let wanted: String = FILES
        .iter()
        .map(|file| fs::read_to_string(locks.join(file)).unwrap())
        .chain([version])
        .collect();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = cache.join("simulator-sdk-node");
    if fs::read_to_string(folder.join("installed-from")).is_ok_and(|found| found == wanted) {
        return folder;
    }
    let fresh = cache.join(format!("simulator-sdk-node-{}", std::process::id()));
    fs::create_dir_all(&fresh).unwrap();
    for file in FILES {
        fs::copy(locks.join(file), fresh.join(file)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-engine-strict"])
        .current_dir(&fresh);
    run(&mut npm);
    fs::write(fresh.join("installed-from"), &wanted).unwrap();
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::rename(&fresh, &folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_package_for_node_plays_an_escrow() {
    let sim = stripe_sim::start(SimConfig::default()).await.unwrap();
    let address = sim.base_url.trim_start_matches("http://").to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let (host, port) = (host.to_owned(), port.to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/escrow.mjs");
    let told = tokio::task::spawn_blocking(move || {
        let folder = installed();
        run(Command::new("node").arg(script).arg(folder).arg(host).arg(port))
    })
    .await
    .unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told,
        json!({
            "account": "active",
            "declined": { "type": "StripeCardError", "code": "card_declined", "status": 402 },
            "small": { "type": "StripeInvalidRequestError", "code": "amount_too_small", "status": 400 },
            "captured": ["succeeded", 8_000, true],
            "replayed": [true, "true"],
            "mismatch": { "type": "StripeIdempotencyError", "code": null, "status": 400 },
            "over": { "type": "StripeInvalidRequestError", "code": null, "status": 400 },
            "reversal": 500,
            "refund": "succeeded",
            "listed": 1,
            "pending": 6_500,
            "v2": "active",
            "net": 8_000
        })
    );
    sim.stop().await;
}
