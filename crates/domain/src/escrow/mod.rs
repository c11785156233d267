//! Escrow: money that is held for recipients and moves exactly once.
//!
//! - [`split`]: who gets how much, and who bears how much of a refund.
//! - [`terms`], [`state`], [`facts`], [`held`]: an escrow, what is known of it, and the status and plan that are derived from it.
//! - [`input`], [`decide`]: commands and facts, and what they do; [`notice`]: what a person is told of it.
//! - [`operation`]: the protocol of one call that moves money, with [`failure`] (what refusals mean) and [`retry`] (when to try again).
//! - [`breaker`]: how much may be refunded by itself.
//! - [`ledger`]: every movement as a balanced entry.
//!
//! How they work together: `decide` takes a command or a fact and gives the next escrow, postings, and jobs to begin. Each job is one
//! operation. A worker asks [`held::Escrow::wish`] and [`operation::decide`] what to do with it, does that, and hands the outcome back
//! as a fact.

pub mod apportion;
pub mod breaker;
pub mod decide;
pub mod decision;
pub mod facts;
pub mod failure;
pub mod held;
pub mod input;
pub mod ledger;
mod merge;
pub mod notice;
pub mod operation;
pub mod retry;
pub mod split;
pub mod state;
mod status;
pub mod terms;
