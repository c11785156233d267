//! What becomes of a command or a fact.

/// What becomes of a command or a fact. Nothing else can: there is no partial effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<State, Effect, Reason> {
    /// The state becomes `next`, and each effect is written down in the same transaction.
    Apply {
        /// The state from now on.
        next: State,
        /// What follows from it, in this order.
        effects: Vec<Effect>,
    },
    /// It has been taken in before; nothing changes, and that is no error.
    AlreadyApplied,
    /// It may not happen; nothing changes.
    Refused(Reason),
}

impl<State, Effect, Reason> Decision<State, Effect, Reason> {
    /// A change without effects.
    pub(super) const fn apply(next: State) -> Self {
        Self::Apply {
            next,
            effects: Vec::new(),
        }
    }
}
