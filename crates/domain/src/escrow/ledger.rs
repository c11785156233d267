//! The ledger (ESC-10): every movement of money as a posting that balances by construction.
//!
//! A posting is a list of moves, and a move takes an amount from one account and gives it to another; so a posting cannot be
//! unbalanced, whoever makes it. Accounts tell whose the money is that lies in the platform's balance at Stripe:
//!
//! - [`Account::Clearing`] is that balance itself, seen from the other side: it goes *down* when money comes in. Its negative is what
//!   Stripe holds for us, to be compared with Stripe's balance transactions.
//! - [`Account::Escrow`] is the payer's money, held.
//! - [`Account::Recipient`] is what was released and owed to a recipient. Negative: the recipient owes the platform.
//! - [`Account::PlatformFee`] is what the platform has earned.
//! - [`Account::Disputes`] is what was taken by banks and not decided; negative while it is gone.
//! - [`Account::Losses`] is what nobody else bears; negative.
//!
//! Postings are derived from the difference between two states of an escrow, each of which only grows, so that the same fact, told
//! twice or by two sides, is posted once. Stripe's own fees (for processing, for disputes) are not here: they are known only from
//! balance transactions.

use super::facts::Recipient;
use super::held::Escrow;
use super::split::Split;
use crate::ids::AccountId;
use crate::words::words;

/// Whose money it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The platform's balance at Stripe, from the other side.
    Clearing,
    /// The payer's, held. One per escrow.
    Escrow,
    /// A recipient's, released. One per recipient of an escrow.
    Recipient(AccountId),
    /// The platform's.
    PlatformFee,
    /// In dispute.
    Disputes,
    /// Lost by the platform.
    Losses,
}

words! {
    /// What a posting is for.
    PostingKind {
        /// The payment came in.
        Capture => "capture",
        /// It became the recipients' and the platform's.
        Release => "release",
        /// A recipient was paid.
        Transfer => "transfer",
        /// A transfer was taken back.
        Reversal => "reversal",
        /// The payer was paid back.
        Refund => "refund",
        /// A bank took the money of a dispute.
        DisputeWithdrawal => "dispute_withdrawal",
        /// A bank gave it back.
        DisputeReinstatement => "dispute_reinstatement",
        /// A dispute was lost: those bear it who were to have the money.
        DisputeLoss => "dispute_loss",
        /// A dispute was won late: they have it back.
        DisputeRecovery => "dispute_recovery",
        /// What a recipient owed was given up.
        WriteOff => "write_off",
    }
}

/// A balanced entry. The escrow's id and currency are those of the escrow that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Posting {
    /// What it is for.
    pub kind: PostingKind,
    moves: Vec<Move>,
}

/// An amount that leaves one account and enters another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Move {
    /// Where it leaves.
    pub from: Account,
    /// Where it enters.
    pub to: Account,
    /// Minor units, more than zero.
    pub amount: i64,
}

impl Posting {
    const fn new(kind: PostingKind) -> Self {
        Self {
            kind,
            moves: Vec::new(),
        }
    }

    fn with(mut self, from: Account, to: Account, amount: i64) -> Self {
        match amount.signum() {
            1 => self.moves.push(Move { from, to, amount }),
            -1 => self.moves.push(Move {
                from: to,
                to: from,
                amount: amount.saturating_neg(),
            }),
            _ => {}
        }
        self
    }

    /// Its moves; at least one.
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Its lines, as they are stored: an account and an amount, negative where it leaves. They add up to zero.
    pub fn lines(&self) -> impl Iterator<Item = (&Account, i64)> {
        self.moves
            .iter()
            .flat_map(|it| [(&it.from, it.amount.saturating_neg()), (&it.to, it.amount)])
    }
}

/// What has to be posted for an escrow that was `before` and is `after`, in this order.
#[must_use]
pub fn postings(before: &Escrow, after: &Escrow) -> Vec<Posting> {
    let mut book = Book::new(before, after);
    let captured = after.captured().saturating_sub(before.captured());
    book.post(Posting::new(PostingKind::Capture).with(Account::Clearing, Account::Escrow, captured));
    book.release();
    for (recipient, was) in after.recipients.iter().zip(&before.recipients) {
        book.of_recipient(recipient, was);
    }
    book.disputes();
    let refunded = after.refunded.total().saturating_sub(before.refunded.total());
    book.give_back(PostingKind::Refund, &Account::Clearing, refunded);
    let lost = after.lost().saturating_sub(before.lost());
    let kind = if lost < 0 {
        PostingKind::DisputeRecovery
    } else {
        PostingKind::DisputeLoss
    };
    book.give_back(kind, &Account::Disputes, lost);
    book.postings
}

/// The postings of one step, and how far the money has gone back while they are made.
struct Book<'e> {
    before: &'e Escrow,
    after: &'e Escrow,
    split: &'e Split,
    given_back: i64,
    postings: Vec<Posting>,
}

impl<'e> Book<'e> {
    fn new(before: &'e Escrow, after: &'e Escrow) -> Self {
        let never_taken = after.payment.captured.map_or(0, |captured| {
            after.terms.split.amount().minor.saturating_sub(captured).max(0)
        });
        let back = before.refunded.total().saturating_add(before.lost());
        Self {
            before,
            after,
            split: &after.terms.split,
            given_back: never_taken.saturating_add(back),
            postings: Vec::new(),
        }
    }

    fn post(&mut self, posting: Posting) {
        if !posting.moves.is_empty() {
            self.postings.push(posting);
        }
    }

    /// With release and capture, what is left of the payment becomes the recipients' and the platform's.
    fn release(&mut self) {
        if is_released(self.before) || !is_released(self.after) {
            return;
        }
        let returned = self.split.returned(self.given_back);
        let mut posting = Posting::new(PostingKind::Release);
        for (part, back) in self.split.parts().iter().zip(returned.parts) {
            let account = Account::Recipient(part.account.clone());
            posting = posting.with(Account::Escrow, account, part.amount.saturating_sub(back));
        }
        let fee = self.split.fee().saturating_sub(returned.fee);
        self.post(posting.with(Account::Escrow, Account::PlatformFee, fee));
    }

    fn of_recipient(&mut self, recipient: &Recipient, was: &Recipient) {
        let account = Account::Recipient(recipient.account.clone());
        for (id, transfer) in &recipient.transfers {
            let known = was.transfers.get(id);
            let paid = transfer.amount.saturating_sub(known.map_or(0, |known| known.amount));
            let taken = transfer.amount.saturating_sub(transfer.net());
            let back = taken.saturating_sub(known.map_or(0, |known| known.amount.saturating_sub(known.net())));
            self.post(Posting::new(PostingKind::Transfer).with(account.clone(), Account::Clearing, paid));
            self.post(Posting::new(PostingKind::Reversal).with(Account::Clearing, account.clone(), back));
        }
        let written_off = recipient.written_off.saturating_sub(was.written_off);
        self.post(Posting::new(PostingKind::WriteOff).with(Account::Losses, account, written_off));
    }

    fn disputes(&mut self) {
        let gone = |escrow: &Escrow| escrow.in_dispute().saturating_add(escrow.lost());
        let taken = gone(self.after).saturating_sub(gone(self.before));
        let kind = if taken < 0 {
            PostingKind::DisputeReinstatement
        } else {
            PostingKind::DisputeWithdrawal
        };
        self.post(Posting::new(kind).with(Account::Disputes, Account::Clearing, taken));
    }

    /// Money goes back to the payer (or, with a negative amount, comes back): whoever was to have it bears it, and what is more than
    /// the payment is a loss.
    fn give_back(&mut self, kind: PostingKind, to: &Account, amount: i64) {
        let (from, until) = (self.given_back, self.given_back.saturating_add(amount));
        let (was, now) = (self.split.returned(from), self.split.returned(until));
        let over = |total: i64| total.saturating_sub(self.split.amount().minor).max(0);
        let mut posting = Posting::new(kind);
        let parts = self.split.parts().iter().zip(now.parts.iter().zip(&was.parts));
        for (part, (now, was)) in parts {
            let bearer = if is_released(self.after) {
                Account::Recipient(part.account.clone())
            } else {
                Account::Escrow
            };
            posting = posting.with(bearer, to.clone(), now.saturating_sub(*was));
        }
        let bearer = if is_released(self.after) {
            Account::PlatformFee
        } else {
            Account::Escrow
        };
        posting = posting.with(bearer, to.clone(), now.fee.saturating_sub(was.fee));
        let loss = over(until).saturating_sub(over(from));
        self.given_back = until;
        self.post(posting.with(Account::Losses, to.clone(), loss));
    }
}

/// Whether the money is the recipients' and the platform's.
fn is_released(escrow: &Escrow) -> bool {
    escrow.payment.captured.is_some() && escrow.asked.release
}
