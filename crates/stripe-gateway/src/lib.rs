//! The room that names Stripe: what it signs, what it sends, and where each API version puts a field.
//!
//! An event passes through here in three steps, each of them total (an error, never a panic, whatever the bytes):
//!
//! 1. [`signature::verify`] checks `Stripe-Signature` over the raw body, before anything is parsed;
//! 2. [`envelope::peek`] reads the few fields that routing needs, without building a tree of the body;
//! 3. a consumer reads what it needs of the object by [`views`], from whichever place the event's API version has it.
//!
//! Nothing of that has I/O or a clock: time is an argument. The other direction is [`client`], the only place that calls Stripe.

#![recursion_limit = "256"]

pub mod client;
pub mod envelope;
pub mod fixtures;
pub mod signature;
pub mod views;
