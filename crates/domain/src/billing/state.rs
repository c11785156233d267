//! The states of a client and the one graph of transitions between them.

use std::fmt;

/// What a client may use, as the rest of the user's systems sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientState {
    /// Has begun to sign up and has paid nothing yet.
    TrialPending,
    /// In a trial.
    TrialActive,
    /// Pays.
    Active,
    /// A payment failed and is being retried.
    PastDue,
    /// Collection or the subscription is paused.
    Paused,
    /// No subscription is left.
    Canceled,
}

impl ClientState {
    /// Every state, in the order of the documents.
    pub const ALL: [Self; 6] = [
        Self::TrialPending,
        Self::TrialActive,
        Self::Active,
        Self::PastDue,
        Self::Paused,
        Self::Canceled,
    ];

    /// The word in the database, in answers and in announcements.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TrialPending => "TRIAL_PENDING",
            Self::TrialActive => "TRIAL_ACTIVE",
            Self::Active => "ACTIVE",
            Self::PastDue => "PAST_DUE",
            Self::Paused => "PAUSED",
            Self::Canceled => "CANCELED",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which subscription speaks for the client after a transition, compared with before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// The same subscription as before.
    Same,
    /// Another one, or the first one.
    Another,
}

/// Whether a client may go from one state to another (guard 7).
///
/// Facts arrive in any order, so a step may skip what lay between: nearly every pair is possible. What is not: a canceled
/// subscription never comes back. A canceled client does, by another subscription. And staying is no transition.
#[must_use]
pub const fn may_become(from: ClientState, to: ClientState, speaker: Speaker) -> bool {
    use ClientState::{Active, Canceled, PastDue, Paused, TrialActive, TrialPending};
    match (from, to) {
        (TrialPending, TrialPending)
        | (TrialActive, TrialActive)
        | (Active, Active)
        | (PastDue, PastDue)
        | (Paused, Paused)
        | (Canceled, Canceled) => false,
        (Canceled, TrialPending | TrialActive | Active | PastDue | Paused) => matches!(speaker, Speaker::Another),
        (TrialPending, TrialActive | Active | PastDue | Paused | Canceled)
        | (TrialActive, TrialPending | Active | PastDue | Paused | Canceled)
        | (Active, TrialPending | TrialActive | PastDue | Paused | Canceled)
        | (PastDue, TrialPending | TrialActive | Active | Paused | Canceled)
        | (Paused, TrialPending | TrialActive | Active | PastDue | Canceled) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canceled_subscription_never_comes_back() {
        for to in ClientState::ALL {
            assert!(!may_become(ClientState::Canceled, to, Speaker::Same));
        }
        assert!(may_become(ClientState::Canceled, ClientState::Active, Speaker::Another));
    }

    #[test]
    fn words_read_back() {
        for state in ClientState::ALL {
            assert_eq!(ClientState::parse(state.as_str()), Some(state));
        }
        assert_eq!(ClientState::parse("active"), None);
    }
}
