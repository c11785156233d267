//! What the steps of this crate cost per event, in microseconds: `cargo run --release -p stripe-gateway --example
//! gateway_cost`. Each figure is the best of several rounds over all subscription, invoice, charge and checkout fixtures.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for people to run by hand"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use stripe_gateway::envelope::peek;
use stripe_gateway::fixtures;
use stripe_gateway::signature::{Secrets, sign, verify};
use stripe_gateway::views::EventView;

const NOW: i64 = fixtures::CREATED;

struct Delivery {
    header: String,
    body: Vec<u8>,
}

fn main() {
    let secrets = Secrets::new(["whsec_cost", "whsec_cost_rolled"]).unwrap();
    let deliveries: Vec<Delivery> = fixtures::all()
        .into_iter()
        .filter(|fixture| {
            let kinds = [
                "customer.subscription.",
                "invoice.",
                "checkout.session.",
                "charge.succeeded",
                "charge.refunded",
            ];
            kinds.iter().any(|kind| fixture.kind.starts_with(kind))
        })
        .map(|fixture| Delivery {
            header: sign("whsec_cost", fixture.body.as_bytes(), NOW),
            body: fixture.body.into_bytes(),
        })
        .collect();
    let bytes: usize = deliveries.iter().map(|delivery| delivery.body.len()).sum();
    println!(
        "{} bodies, {} bytes on average",
        deliveries.len(),
        bytes / deliveries.len()
    );

    measure("verify", &deliveries, |delivery| {
        verify(Some(delivery.header.as_bytes()), &delivery.body, &secrets, NOW, 300).is_ok()
    });
    measure("peek", &deliveries, |delivery| peek(&delivery.body).is_ok());
    measure("EventView::parse", &deliveries, |delivery| {
        EventView::parse(&delivery.body).is_ok()
    });
    measure("EventView::parse and the view", &deliveries, |delivery| {
        let event = EventView::parse(&delivery.body).unwrap();
        match event.envelope.kind.as_bytes() {
            [b'c', b'u', ..] => event.subscription().is_ok(),
            [b'i', ..] => event.invoice().is_ok(),
            [b'c', b'h', b'e', ..] => event.checkout_session().is_ok(),
            _ => event.charge().is_ok(),
        }
    });
    measure("for comparison: a tree of the body", &deliveries, |delivery| {
        serde_json::from_slice::<serde_json::Value>(&delivery.body).is_ok()
    });
}

fn measure(name: &str, deliveries: &[Delivery], work: impl Fn(&Delivery) -> bool) {
    let mut best = Duration::MAX;
    for _ in 0..30 {
        let start = Instant::now();
        for _ in 0..20 {
            for delivery in deliveries {
                black_box(work(black_box(delivery)));
            }
        }
        best = best.min(start.elapsed() / 20);
    }
    let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
    println!("{:>8.2} µs  {name}", (best / count).as_nanos() as f64 / 1000.0);
}
