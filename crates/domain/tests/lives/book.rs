//! The ledger of an escrow, computed by itself.

use std::collections::BTreeMap;

use domain::escrow::held::Escrow;
use domain::escrow::ledger::Account;

pub type Balances = BTreeMap<Account, i64>;

/// The book as it must be, computed from the facts as they stand and not from any posting.
pub fn book(escrow: &Escrow) -> Balances {
    let mut book = Balances::new();
    let returned = escrow.terms.split.returned(escrow.given_back());
    let released = escrow.payment.captured.is_some() && escrow.asked.release;
    let over = (escrow.given_back() - escrow.terms.split.amount().minor).max(0);
    let net: i64 = escrow
        .recipients
        .iter()
        .map(domain::escrow::facts::Recipient::net)
        .sum();
    let at_stripe = escrow.captured() - net - escrow.refunded.total() - escrow.lost() - escrow.in_dispute();
    book.insert(Account::Clearing, -at_stripe);
    book.insert(Account::Disputes, -escrow.in_dispute());
    let written_off: i64 = escrow.recipients.iter().map(|recipient| recipient.written_off).sum();
    book.insert(Account::Losses, -over - written_off);
    let mut held = escrow.captured() - (escrow.refunded.total() + escrow.lost() - over);
    for ((recipient, part), back) in escrow
        .recipients
        .iter()
        .zip(escrow.terms.split.parts())
        .zip(returned.parts)
    {
        let share = if released { part.amount - back } else { 0 };
        held -= share;
        book.insert(
            Account::Recipient(recipient.account.clone()),
            share - recipient.net() + recipient.written_off,
        );
    }
    let fee = if released {
        escrow.terms.split.fee() - returned.fee
    } else {
        0
    };
    book.insert(Account::PlatformFee, fee);
    book.insert(Account::Escrow, held - fee);
    book.retain(|_, balance| *balance != 0);
    book
}
