//! Idempotency keys by Stripe's rules: the first result of a call that began to execute is kept, whatever it was, and answered again for
//! the same call; another call with the key is refused; a key in use answers 409; after 24 hours of simulated time a key is new again.

use std::collections::HashMap;

use serde_json::Value;

use crate::error::ApiError;

const KEPT_SECONDS: i64 = 86_400;

#[derive(Debug)]
struct Kept {
    call: String,
    since: i64,
    /// `None` while the first call runs.
    result: Option<(u16, Value)>,
}

/// What to do with a call that brought a key.
#[derive(Debug)]
pub(crate) enum Begin {
    Run,
    Replay(u16, Value),
    Refuse(ApiError),
}

#[derive(Debug, Default)]
pub(crate) struct Keys {
    kept: HashMap<String, Kept>,
    pruned_at: i64,
}

impl Keys {
    /// `call` tells apart endpoint and parameters.
    pub(crate) fn begin(&mut self, key: &str, call: &str, now: i64) -> Begin {
        if self
            .kept
            .get(key)
            .is_some_and(|kept| kept.result.is_some() && now - kept.since >= KEPT_SECONDS)
        {
            self.kept.remove(key);
        }
        match self.kept.get(key) {
            None => {
                self.kept.insert(
                    key.to_owned(),
                    Kept {
                        call: call.to_owned(),
                        since: now,
                        result: None,
                    },
                );
                Begin::Run
            }
            Some(kept) if kept.call != call => Begin::Refuse(ApiError::idempotency(
                "Keys for idempotent requests can only be used with the same parameters and endpoint they were first used with. Try using a key other than the one given if you meant to execute a different request.",
            )),
            Some(Kept {
                result: Some((status, body)),
                ..
            }) => Begin::Replay(*status, body.clone()),
            Some(_) => Begin::Refuse(ApiError::key_in_use()),
        }
    }

    /// Keeps the result of a call that executed.
    pub(crate) fn finish(&mut self, key: &str, status: u16, body: Value) {
        if let Some(kept) = self.kept.get_mut(key) {
            kept.result = Some((status, body));
        }
    }

    /// Forgets a key whose call did not begin to execute.
    pub(crate) fn release(&mut self, key: &str) {
        self.kept.remove(key);
    }

    /// Forgets a key that is not in use, of whichever account. Returns how many there were.
    pub(crate) fn forget(&mut self, key: &str) -> usize {
        let before = self.kept.len();
        let named = |full: &str| full.split_once('\n').is_some_and(|(_, own)| own == key);
        self.kept.retain(|full, kept| kept.result.is_none() || !named(full));
        before - self.kept.len()
    }

    /// Forgets what is older than 24 hours, at most once an hour of simulated time.
    pub(crate) fn prune_sometimes(&mut self, now: i64) {
        if now - self.pruned_at >= 3_600 {
            self.pruned_at = now;
            self.prune(now, false);
        }
    }

    /// Forgets all finished keys, or those older than 24 hours. Returns how many went.
    pub(crate) fn prune(&mut self, now: i64, all: bool) -> usize {
        let before = self.kept.len();
        self.kept
            .retain(|_, kept| kept.result.is_none() || (!all && now - kept.since < KEPT_SECONDS));
        before - self.kept.len()
    }
}
