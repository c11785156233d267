//! Charges, refunds and disputes, in the domain's words.

use domain::billing::charge::{
    Charge, ChargeFact, ChargeFactKind, Dispute, DisputeStatus, DisputeWord, Refund, RefundStatus,
};
use domain::billing::decision::Reason;
use domain::ids::{ChargeId, CustomerId, DisputeId, RefundId};
use domain::time::UnixSeconds;
use stripe_gateway::views;

use super::field::{Unreadable, currency, id, not_negative, required_id, time, word};
use super::{Says, Statement, named};

pub(super) fn charge(view: &views::Charge) -> Result<Statement, Unreadable> {
    let customer = view
        .customer
        .as_deref()
        .map(|customer| id("charge.customer", customer, CustomerId::parse))
        .transpose()?;
    let fact = ChargeFact {
        charge: id("charge.id", &view.id, ChargeId::parse)?,
        kind: ChargeFactKind::Charge(Charge {
            refunded: not_negative("charge.amount_refunded", view.amount_refunded)?,
            amount: not_negative("charge.amount", view.amount)?,
            currency: currency("charge.currency", &view.currency)?,
        }),
    };
    Ok(Statement {
        named: named(view.metadata.client_id()),
        customer,
        ..Statement::of_charge(fact)
    })
}

pub(super) fn refund(view: &views::Refund) -> Result<Result<Statement, Reason>, Unreadable> {
    let Some(charge) = view.charge.as_deref() else {
        return Ok(Err(Reason::RefundWithoutCharge));
    };
    let status = match &view.status {
        Some(status) => word("refund.status", status.as_str(), RefundStatus::parse)?,
        None => RefundStatus::Pending,
    };
    let refund = Refund {
        status,
        amount: not_negative("refund.amount", view.amount)?,
        currency: currency("refund.currency", &view.currency)?,
    };
    let fact = ChargeFact {
        charge: id("refund.charge", charge, ChargeId::parse)?,
        kind: ChargeFactKind::Refund(id("refund.id", &view.id, RefundId::parse)?, refund),
    };
    Ok(Ok(Statement {
        payment_intent: view.payment_intent.clone(),
        ..Statement::of_charge(fact)
    }))
}

pub(super) fn dispute(view: &views::Dispute, said_by: DisputeWord, at: UnixSeconds) -> Result<Statement, Unreadable> {
    let dispute = Dispute {
        word: said_by,
        at,
        status: word("dispute.status", view.status.as_str(), DisputeStatus::parse)?,
        amount: not_negative("dispute.amount", view.amount)?,
        currency: currency("dispute.currency", &view.currency)?,
        due_by: view
            .due_by
            .map(|due| time("dispute.evidence_details.due_by", due))
            .transpose()?,
    };
    let fact = ChargeFact {
        charge: required_id("dispute.charge", view.charge.as_deref(), ChargeId::parse)?,
        kind: ChargeFactKind::Dispute(id("dispute.id", &view.id, DisputeId::parse)?, dispute),
    };
    Ok(Statement {
        payment_intent: view.payment_intent.clone(),
        ..Statement::of_charge(fact)
    })
}

impl Statement {
    fn of_charge(fact: ChargeFact) -> Self {
        Self {
            says: Says::OfCharge(fact),
            customer: None,
            session: None,
            named: None,
            is_checkout: false,
            payment_intent: None,
            whole: None,
        }
    }
}
