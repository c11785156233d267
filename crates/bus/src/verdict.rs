//! What a handler says about a message, and what that means for it.
//!
//! Two pure functions decide everything: [`settlement`] turns a verdict into acking, a delayed retry or parking, and
//! [`ack_plan`] says which delivery tags to ack. Both are called from one place, `settle`.

use std::fmt::Display;

use crate::topology::QueueFamily;

/// A handler's word on one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dealt with, whatever the decision was; its effects are committed.
    Done,
    /// Failed for a reason that may pass: try again later, and park after the last attempt of the schedule.
    Retry {
        /// For the log and whoever looks at the message.
        reason: String,
    },
    /// Not its fault: try again after a pause, and count no attempt.
    Later {
        /// How long.
        pause: Pause,
        /// For the log and whoever looks at the message.
        reason: String,
    },
    /// Will never succeed by itself: set aside for a person.
    Park {
        /// For the alert and whoever looks at the message.
        reason: String,
    },
}

/// How long a message waits that is not at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The shortest delay of the schedule.
    Short,
    /// The longest delay of up to half a minute.
    Long,
}

/// A handler's failure on a batch as a whole. Nothing of the batch may have been committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The cause may lie in one of the messages: they are tried one by one, so that a bad one stands alone.
    #[error("the batch failed: {reason}")]
    Failed {
        /// For the log.
        reason: String,
    },
    /// Something that every message needs is away (the database): the whole batch is tried again after a pause, as
    /// often as it takes, and counts as no attempt. Otherwise an outage would park every message that it met.
    #[error("what the handler needs is away: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
    },
    /// What the handler needs is there, and somebody else held a part of it for too long. The messages are tried one by one, and
    /// one that meets this alone waits without counting an attempt: a lock says nothing about a message.
    #[error("what the handler needs is held by somebody else: {reason}")]
    Held {
        /// For the log.
        reason: String,
    },
    /// What the handler needs is there, and it took too long all the same. The messages are tried one by one, and one that is too
    /// slow alone has failed; where several are and nothing else went through, it is nobody's fault.
    #[error("the handler took too long: {reason}")]
    Slow {
        /// For the log.
        reason: String,
    },
}

impl BatchError {
    /// The cause may lie in a message.
    pub fn failed(reason: impl Display) -> Self {
        Self::Failed {
            reason: reason.to_string(),
        }
    }

    /// Somebody else held what was needed.
    pub fn held(reason: impl Display) -> Self {
        Self::Held {
            reason: reason.to_string(),
        }
    }

    /// It took too long.
    pub fn slow(reason: impl Display) -> Self {
        Self::Slow {
            reason: reason.to_string(),
        }
    }

    /// The cause lies in what every message needs.
    pub fn unavailable(reason: impl Display) -> Self {
        Self::Unavailable {
            reason: reason.to_string(),
        }
    }
}

/// What is done with a message before it is acked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Nothing.
    Finish,
    /// It is published to this retry queue.
    Delay {
        queue: String,
        failed_attempts: u32,
        /// Whether it was tried, and put off without having failed.
        is_put_off: bool,
        reason: String,
    },
    /// It is published to the parking queue: the handler wants it so.
    Park { attempts: u32, reason: String },
    /// It is published to the parking queue, and the handler is told that no attempt is left.
    GiveUp { attempts: u32, reason: String },
}

/// The one rule: what a verdict means for a message that has failed so often before.
pub(crate) fn settlement(verdict: Verdict, failed_before: u32, family: &QueueFamily) -> Settlement {
    let attempts = failed_before.saturating_add(1);
    match verdict {
        Verdict::Done => Settlement::Finish,
        Verdict::Park { reason } => Settlement::Park { attempts, reason },
        Verdict::Later { pause, reason } => match family.pause_queue(pause) {
            Some(queue) => Settlement::Delay {
                queue,
                failed_attempts: failed_before,
                // One that comes back soon was not tried.
                is_put_off: pause == Pause::Long,
                reason,
            },
            None => Settlement::Park { attempts, reason },
        },
        Verdict::Retry { reason } => match family.retry_queue(attempts) {
            Some(queue) => Settlement::Delay {
                queue,
                failed_attempts: attempts,
                is_put_off: false,
                reason,
            },
            None => Settlement::GiveUp {
                attempts,
                reason: format!("no attempt left: {reason}"),
            },
        },
    }
}

/// Which delivery tags to ack. The prefix is acked with `multiple`, which covers every tag up to it; the singles are
/// all above it, so that no tag is acked twice (the broker closes the channel on that).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AckPlan {
    pub(crate) prefix: Option<u64>,
    pub(crate) singles: Vec<u64>,
}

/// Plans the acks of one batch: tags in the order of delivery, with whether each message is settled. Everything
/// delivered before the batch must have been acked.
pub(crate) fn ack_plan(batch: impl IntoIterator<Item = (u64, bool)>) -> AckPlan {
    let mut plan = AckPlan {
        prefix: None,
        singles: Vec::new(),
    };
    let mut whole = true;
    for (tag, settled) in batch {
        whole &= settled;
        if whole {
            plan.prefix = Some(tag);
        } else if settled {
            plan.singles.push(tag);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_batch_is_one_ack() {
        let plan = ack_plan([(4, true), (5, true), (6, true)]);
        assert_eq!(
            plan,
            AckPlan {
                prefix: Some(6),
                singles: vec![]
            }
        );
    }

    #[test]
    fn nothing_beyond_an_unsettled_message_is_acked_with_multiple() {
        let plan = ack_plan([(4, true), (5, false), (6, true), (7, false), (8, true)]);
        assert_eq!(
            plan,
            AckPlan {
                prefix: Some(4),
                singles: vec![6, 8]
            }
        );
        assert_eq!(
            ack_plan([(1, false), (2, false)]),
            AckPlan {
                prefix: None,
                singles: vec![]
            }
        );
    }

    #[test]
    fn a_message_is_retried_by_the_schedule_and_then_parked() {
        let family = QueueFamily::new("q");
        let retry = || Verdict::Retry {
            reason: "why".to_owned(),
        };
        let delay = |queue: &str, failed_attempts| Settlement::Delay {
            queue: queue.to_owned(),
            failed_attempts,
            is_put_off: false,
            reason: "why".to_owned(),
        };
        assert_eq!(settlement(retry(), 0, &family), delay("q.retry.1s", 1));
        assert_eq!(settlement(retry(), 4, &family), delay("q.retry.10m", 5));
        let parked = Settlement::GiveUp {
            attempts: 6,
            reason: "no attempt left: why".to_owned(),
        };
        assert_eq!(settlement(retry(), 5, &family), parked);
        assert!(matches!(
            settlement(retry(), u32::MAX, &family),
            Settlement::GiveUp { attempts: u32::MAX, .. }
        ));
        assert_eq!(settlement(Verdict::Done, 3, &family), Settlement::Finish);
    }

    #[test]
    fn a_message_that_is_not_at_fault_waits_and_keeps_its_attempts() {
        let family = QueueFamily::new("q");
        for failed_before in [0, 4, 5] {
            for (pause, queue, is_put_off) in [(Pause::Long, "q.retry.30s", true), (Pause::Short, "q.retry.1s", false)]
            {
                let later = Verdict::Later {
                    pause,
                    reason: "why".to_owned(),
                };
                let waits = Settlement::Delay {
                    queue: queue.to_owned(),
                    failed_attempts: failed_before,
                    is_put_off,
                    reason: "why".to_owned(),
                };
                assert_eq!(settlement(later, failed_before, &family), waits);
            }
        }
    }
}
