//! Ids and chances as pure functions of the seed. Each prefix has its own counter, so that a read between two writes changes no id, and a
//! chance depends on what it is about, not on when it is asked: the same seed and the same calls give the same run.

use std::collections::HashMap;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Generator of all ids of one simulator.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: u64,
    counters: HashMap<&'static str, u64>,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            counters: HashMap::new(),
        }
    }

    /// The next id with this prefix, in Stripe's usual length.
    pub(crate) fn next(&mut self, prefix: &'static str) -> String {
        let counter = self.counters.entry(prefix).or_default();
        *counter += 1;
        let (lead, length) = match prefix {
            "cus" | "prod" | "si" | "req" => ("", 14),
            "cs_test" => ("a1", 56),
            "acct" => ("1S", 14),
            "evt_test" | "ed_test" => ("65", 26),
            _ => ("1S", 22),
        };
        format!("{prefix}_{lead}{}", token(self.seed, prefix, *counter, length))
    }

    /// A token that is not an id: client secrets, webhook secrets, fingerprints.
    pub(crate) fn secret(&mut self, purpose: &'static str, length: usize) -> String {
        let counter = self.counters.entry(purpose).or_default();
        *counter += 1;
        token(self.seed, purpose, *counter, length)
    }
}

fn hash(seed: u64, purpose: &str, number: u64, round: u64) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&seed.to_be_bytes());
    context.update(purpose.as_bytes());
    context.update(&number.to_be_bytes());
    context.update(&round.to_be_bytes());
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

fn token(seed: u64, purpose: &str, number: u64, length: usize) -> String {
    let bytes = (0_u64..).flat_map(|round| hash(seed, purpose, number, round));
    bytes
        .filter_map(|byte| ALPHABET.get(usize::from(byte) % 62))
        .take(length)
        .map(|byte| char::from(*byte))
        .collect()
}

/// A number that is the same for the same seed, purpose and subject.
pub(crate) fn draw(seed: u64, purpose: &str, subject: u64) -> u64 {
    let bytes = hash(seed, purpose, subject, 0);
    bytes.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// True with the given probability.
pub(crate) fn chance(seed: u64, purpose: &str, subject: u64, probability: f64) -> bool {
    #[expect(
        clippy::cast_precision_loss,
        reason = "the low bits of a random number do not matter for a probability"
    )]
    let drawn = (draw(seed, purpose, subject) >> 11) as f64 / (1_u64 << 53) as f64;
    drawn < probability
}
