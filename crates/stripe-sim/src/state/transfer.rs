//! Transfers to connected accounts and their reversals. A transfer either happens in the call or is refused by it: there is no later failure.

use super::World;
use super::balance::Posting;
use super::customer::Metadata;
use super::ledger::Entry;
use super::object::Object;
use crate::error::{ApiError, ApiResult};

#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) amount_reversed: i64,
    pub(crate) currency: String,
    pub(crate) destination: String,
    pub(crate) destination_payment: String,
    pub(crate) source_transaction: Option<String>,
    pub(crate) transfer_group: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) balance_transaction: String,
    pub(crate) reversals: Vec<Reversal>,
}

#[derive(Clone, Debug)]
pub(crate) struct Reversal {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) transfer: String,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) balance_transaction: String,
}

/// What a transfer is made from.
#[derive(Clone, Debug)]
pub(crate) struct NewTransfer {
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) destination: String,
    pub(crate) source_transaction: Option<String>,
    pub(crate) transfer_group: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
}

impl World {
    pub(crate) fn transfer(&self, id: &str, param: &str) -> ApiResult<&Transfer> {
        self.transfers
            .get(id)
            .ok_or_else(|| ApiError::missing("transfer", id, param))
    }

    pub(crate) fn create_transfer(&mut self, new: NewTransfer) -> ApiResult<Transfer> {
        let destination = self
            .accounts
            .get(&new.destination)
            .ok_or_else(|| ApiError::missing("destination", &new.destination, "destination"))?;
        if !destination.can_receive_transfers() {
            return Err(ApiError::state(
                "insufficient_capabilities_for_transfer",
                "Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, legacy_payments",
            ));
        }
        let source = self.transfer_source(&new)?;
        let available_on = match &source {
            Some(source) => self.available_with(source.balance_transaction.as_deref()),
            None if self.balance(&None, &new.currency).0 < new.amount => {
                return Err(ApiError::state(
                    "balance_insufficient",
                    "You have insufficient available funds in your Stripe account. Use the source_transaction parameter to transfer the funds of a charge before they are available.",
                ));
            }
            None => 0,
        };
        let id = self.ids.next("tr");
        let destination_payment = self.ids.next("py");
        let balance_transaction = self.post(Posting {
            owner: None,
            amount: -new.amount,
            fee: 0,
            currency: &new.currency,
            kind: "transfer",
            source: &id,
            available_on,
        });
        self.post(Posting {
            owner: Some(new.destination.clone()),
            amount: new.amount,
            fee: 0,
            currency: &new.currency,
            kind: "payment",
            source: &destination_payment,
            available_on,
        });
        let group = new.transfer_group.or_else(|| source.as_ref().map(group_of));
        if let Some(charge) = source.as_ref().and_then(|one| self.charges.get_mut(&one.id)) {
            charge.transferred += new.amount;
            charge.transfer_group = charge.transfer_group.take().or_else(|| group.clone());
        }
        let transfer = Transfer {
            id: id.clone(),
            created: self.now(),
            amount: new.amount,
            amount_reversed: 0,
            currency: new.currency,
            destination: new.destination,
            destination_payment,
            source_transaction: new.source_transaction,
            transfer_group: group,
            description: new.description,
            metadata: new.metadata,
            balance_transaction,
            reversals: Vec::new(),
        };
        if let Some(group) = &transfer.transfer_group {
            let ids = self.transfers_by_group.entry(group.clone()).or_default();
            ids.push(id.clone());
        }
        self.transfers.insert(&id, transfer.clone());
        let entry = Entry::of_transfer(&transfer, source.as_ref());
        self.book(|ledger| &mut ledger.transfers, entry);
        self.emit("transfer.created", Object::Transfer(transfer.clone().into()));
        Ok(transfer)
    }

    /// The charge whose money is to be transferred, if there is one and enough of it is left.
    fn transfer_source(&self, new: &NewTransfer) -> ApiResult<Option<super::payment::Charge>> {
        let Some(id) = &new.source_transaction else {
            return Ok(None);
        };
        let charge = self
            .charges
            .get(id)
            .ok_or_else(|| ApiError::missing("charge", id, "source_transaction"))?;
        if charge.currency != new.currency {
            let message = format!(
                "The currency of source_transaction's balance transaction ({}) must be the same as the transfer currency ({})",
                charge.currency, new.currency
            );
            return Err(ApiError::state("", message).about("currency"));
        }
        if charge.amount_captured == 0 {
            let message = format!("The source_transaction {id} must be a successful, captured charge.");
            return Err(ApiError::state("", message).about("source_transaction"));
        }
        if charge.transferred.saturating_add(new.amount) > charge.amount_captured {
            let already = match charge.transferred {
                0 => String::new(),
                some => format!(" (There is already a transfer using this source, amounting to {some}.)"),
            };
            let message = format!(
                "Transfers using this transaction as a source must not exceed the source amount of {}.{already}",
                charge.amount_captured
            );
            return Err(ApiError::state("", message).about("amount"));
        }
        Ok(Some(charge.clone()))
    }

    /// Takes (a part of) a transfer back, if the recipient still has the money.
    pub(crate) fn reverse_transfer(
        &mut self,
        id: &str,
        amount: Option<i64>,
        description: Option<String>,
        metadata: Metadata,
    ) -> ApiResult<Reversal> {
        let before = self.transfer(id, "id")?.clone();
        let left = before.amount - before.amount_reversed;
        if left == 0 {
            return Err(ApiError::state("", format!("Transfer {id} is already fully reversed.")));
        }
        let amount = amount.unwrap_or(left);
        if amount > left {
            let message =
                format!("Transfer reversal amount ({amount}) is greater than unreversed amount on transfer ({left})");
            return Err(ApiError::state("", message).about("amount"));
        }
        let recipient = Some(before.destination.clone());
        let available_on = self.available_with(Some(&before.balance_transaction));
        let (available, pending) = self.balance(&recipient, &before.currency);
        let usable = if available_on > self.now() {
            available + pending
        } else {
            available
        };
        if usable < amount {
            return Err(ApiError::state(
                "balance_insufficient",
                "The connected account has insufficient funds to cover this reversal.",
            ));
        }
        let reversal_id = self.ids.next("trr");
        let currency = before.currency.as_str();
        self.post(Posting {
            owner: recipient,
            amount: -amount,
            fee: 0,
            currency,
            kind: "payment_refund",
            source: &before.destination_payment,
            available_on,
        });
        let balance_transaction = self.post(Posting {
            owner: None,
            amount,
            fee: 0,
            currency,
            kind: "transfer_refund",
            source: &reversal_id,
            available_on,
        });
        let reversal = Reversal {
            id: reversal_id,
            created: self.now(),
            amount,
            currency: before.currency.clone(),
            transfer: before.id.clone(),
            description,
            metadata,
            balance_transaction,
        };
        let charge = before.source_transaction.as_deref();
        if let Some(charge) = charge.and_then(|id| self.charges.get_mut(id)) {
            charge.transferred -= amount;
        }
        if let Some(transfer) = self.transfers.get_mut(id) {
            transfer.amount_reversed += amount;
            transfer.reversals.push(reversal.clone());
            let after = transfer.clone();
            let source = charge.and_then(|id| self.charges.get(id));
            let entry = Entry::of_reversal(&reversal, &after, source);
            self.book(|ledger| &mut ledger.reversals, entry);
            self.emit_with_previous(
                "transfer.reversed",
                Object::Transfer(before.into()),
                Object::Transfer(after.into()),
            );
        }
        self.retry_waiting_refunds();
        Ok(reversal)
    }

    /// `transfer.updated` tells of description and metadata only.
    pub(crate) fn change_transfer(&mut self, id: &str, change: impl FnOnce(&mut Transfer)) -> ApiResult<Transfer> {
        let before = self.transfer(id, "id")?.clone();
        let mut after = before.clone();
        change(&mut after);
        self.transfers.insert(id, after.clone());
        self.emit_change(
            "transfer.updated",
            Object::Transfer(before.into()),
            Object::Transfer(after.clone().into()),
        );
        Ok(after)
    }

    /// The transfers of a group, oldest first.
    pub(crate) fn transfers_of_group(&self, group: &str) -> Vec<(&str, &Transfer)> {
        let ids = self.transfers_by_group.get(group).map_or(&[][..], Vec::as_slice);
        ids.iter()
            .filter_map(|id| Some((id.as_str(), self.transfers.get(id)?)))
            .collect()
    }
}

/// The label that Stripe gives a charge and its transfers when nobody gave one.
fn group_of(charge: &super::payment::Charge) -> String {
    charge
        .transfer_group
        .clone()
        .unwrap_or_else(|| format!("group_{}", charge.intent))
}
