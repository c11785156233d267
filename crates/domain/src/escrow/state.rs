//! The states of an escrow and of its recipients, and the one graph between them (ESC-2).

use crate::words::words;

words! {
    /// Where an escrow stands.
    EscrowStatus {
        /// Nothing was paid yet.
        AwaitingPayment => "awaiting_payment",
        /// The money is authorised or captured, and nobody has been told to move it.
        Held => "held",
        /// It is being captured or paid out.
        Processing => "processing",
        /// Every recipient has its share.
        Distributed => "distributed",
        /// A recipient's share could not be paid and will be tried again.
        TransferFailed => "transfer_failed",
        /// A recipient cannot receive its share yet, or any longer.
        PendingUserSetup => "pending_user_setup",
        /// It is being given back: first the transfers are reversed, then the charge is refunded.
        Refunding => "refunding",
        /// All of it was given back.
        Refunded => "refunded",
        /// The last attempt to pay failed; another may follow.
        PaymentFailed => "payment_failed",
        /// It was given up before it was captured. Final.
        Canceled => "canceled",
        /// It was taken back from the recipients: by a lost dispute, or by somebody outside of Holdfast.
        Reversed => "reversed",
        /// A dispute is open, or a lost one is being clawed back. Nothing is paid out.
        Disputed => "disputed",
    }
}

words! {
    /// Where one recipient's share stands.
    RecipientStatus {
        /// Nobody has been told to pay it.
        Waiting => "waiting",
        /// A transfer is under way.
        Paying => "paying",
        /// It has its share.
        Paid => "paid",
        /// The transfer was refused and will be tried again, or waits for a person.
        TransferFailed => "transfer_failed",
        /// The account cannot receive.
        PendingUserSetup => "pending_user_setup",
        /// A reversal is under way.
        Reversing => "reversing",
        /// The reversal was refused.
        ReversalFailed => "reversal_failed",
        /// What it had was taken back.
        Reversed => "reversed",
        /// Its share went back to the payer before it was paid.
        Returned => "returned",
    }
}

/// Whether an escrow may go from one state to another.
///
/// Facts come in any order, so a step may skip what lay between. What is not possible: canceled is final; what was paid never waits
/// for its payment again; what was given back in full is not given out again, only a dispute or a late transfer can touch it; what
/// was captured is not canceled; and staying is no transition.
#[must_use]
pub fn may_become(from: EscrowStatus, to: EscrowStatus) -> bool {
    use EscrowStatus::{
        AwaitingPayment, Canceled, Disputed, Distributed, Held, PaymentFailed, PendingUserSetup, Processing, Refunded,
        Refunding, Reversed, TransferFailed,
    };
    if from == to {
        return false;
    }
    match from {
        AwaitingPayment => true,
        PaymentFailed => to != AwaitingPayment,
        Held | Processing | Refunding => match to {
            AwaitingPayment | PaymentFailed => false,
            Held | Processing | Distributed | TransferFailed | PendingUserSetup | Refunding | Refunded | Canceled
            | Reversed | Disputed => true,
        },
        Distributed | TransferFailed | PendingUserSetup | Reversed | Disputed => match to {
            AwaitingPayment | PaymentFailed | Canceled => false,
            Held | Processing | Distributed | TransferFailed | PendingUserSetup | Refunding | Refunded | Reversed
            | Disputed => true,
        },
        Refunded => match to {
            Refunding | Reversed | Disputed => true,
            AwaitingPayment | PaymentFailed | Held | Processing | Distributed | TransferFailed | PendingUserSetup
            | Refunded | Canceled => false,
        },
        Canceled => false,
    }
}
