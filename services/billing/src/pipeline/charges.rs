//! Charges, refunds and disputes of a batch: recorded, told to a person where they should know, and never a change of state.

use std::collections::BTreeMap;

use db::billing::charges::{ChargeRow, DisputeRow, KnownCharge, RefundRow};
use db::billing::owners::Owner;
use domain::alert::{Alert, AlertKind};
use domain::billing::charge::{
    Charge, ChargeFact, ChargeFactKind, Dispute, DisputeStatus, Refund, RefundStatus, merge,
};
use domain::billing::decision::{Decision, Outcome, Reason};
use domain::billing::subscription::Merged;
use domain::escrow::notice::DisputeNews;
use domain::ids::{DisputeId, RefundId};
use domain::money::Money;

use super::judge::{Judge, Judged};
use crate::announcement;
use crate::reading::{Reading, Says, Source, Statement};

/// What has to be written, keyed so that the last word on each is written once.
#[derive(Debug, Default)]
pub(super) struct ChargeRows {
    charges: Vec<ChargeRow>,
    refunds: Vec<RefundRow>,
    disputes: Vec<DisputeRow>,
    /// Charges that were not known before: what waits for them is decided again.
    pub(super) new: Vec<String>,
}

impl ChargeRows {
    /// The charges to write, each once.
    pub(super) fn charges(&self) -> Vec<ChargeRow> {
        last_of_each(&self.charges, |row| row.id.as_str())
    }

    /// The refunds to write, each once.
    pub(super) fn refunds(&self) -> Vec<RefundRow> {
        last_of_each(&self.refunds, |row| row.id.as_str())
    }

    /// The disputes to write, each once.
    pub(super) fn disputes(&self) -> Vec<DisputeRow> {
        last_of_each(&self.disputes, |row| row.id.as_str())
    }
}

/// Each later row of a key has taken the earlier ones in.
fn last_of_each<T: Clone>(rows: &[T], key: impl Fn(&T) -> &str) -> Vec<T> {
    let keyed: BTreeMap<&str, &T> = rows.iter().map(|row| (key(row), row)).collect();
    keyed.into_values().cloned().collect()
}

impl<'m> Judge<'m> {
    /// A fact about a charge that has no customer, and so no client.
    pub(super) fn ownerless<'s>(&self, statement: &'s Statement) -> Option<&'s ChargeFact> {
        let (None, Says::OfCharge(fact)) = (&statement.customer, &statement.says) else {
            return None;
        };
        let known = self.known.charges.get(fact.charge.as_str());
        let ownerless = match (&fact.kind, known) {
            (_, Some(known)) => known.client.is_none(),
            (ChargeFactKind::Charge(_), None) => true,
            (ChargeFactKind::Refund(..) | ChargeFactKind::Dispute(..), None) => false,
        };
        ownerless.then_some(fact)
    }

    /// Notes that a charge is nobody's, so that nothing is waited for on its account. A dispute of it is a dispute all the same.
    pub(super) fn take_ownerless(&mut self, statement: &Statement, fact: &ChargeFact, judged: &mut Judged<'m>) {
        judged.decision = Decision::ignored(Reason::ChargeWithoutCustomer);
        if let ChargeFactKind::Charge(charge) = fact.kind {
            self.merge_charge(fact, charge, None);
        }
        self.alert_charge(statement, fact, judged);
    }

    /// Merges a fact about a charge of `client`.
    pub(super) fn record(&mut self, statement: &Statement, fact: &ChargeFact, judged: &mut Judged<'m>, client: &str) {
        let Some(held) = self.known.clients.get(client) else {
            return;
        };
        let owner = Owner {
            client: client.to_owned(),
            org: held.row.org_id.clone(),
        };
        let merged = match &fact.kind {
            ChargeFactKind::Charge(charge) => {
                let customer = statement.customer.as_ref().map(ToString::to_string);
                self.merge_charge(fact, *charge, customer.map(|customer| (owner, customer)))
            }
            ChargeFactKind::Refund(id, seen) => {
                let mut known = self.known.refunds.get(id.as_str()).copied();
                let merged = merge(&mut known, *seen);
                if let (Merged::Changed, Some(refund)) = (merged, known) {
                    self.known.refunds.insert(id.to_string(), refund);
                    self.charges.refunds.push(RefundRow {
                        id: id.clone(),
                        charge: fact.charge.clone(),
                        owner,
                        refund,
                    });
                }
                merged
            }
            ChargeFactKind::Dispute(id, seen) => {
                let mut known = self.known.disputes.get(id.as_str()).copied();
                let merged = merge(&mut known, *seen);
                if let (Merged::Changed, Some(dispute)) = (merged, known) {
                    self.known.disputes.insert(id.to_string(), dispute);
                    self.charges.disputes.push(DisputeRow {
                        id: id.clone(),
                        charge: fact.charge.clone(),
                        owner,
                        dispute,
                    });
                }
                merged
            }
        };
        if let Some(held) = self.known.clients.get(client) {
            judged.decision = held.client.record(merged);
        }
        self.alert_charge(statement, fact, judged);
    }

    /// Notes whose a charge is that was refused because its client does not pay by Stripe, so that what is said of it is refused as well
    /// and waits for nobody. Answers whether the charge's customer is registered for a client: metadata alone makes a charge nobody's.
    pub(super) fn note_whose(&mut self, statement: &Statement, reading: &Reading<'_>) -> bool {
        let (Some(customer), Says::OfCharge(fact)) = (&statement.customer, &statement.says) else {
            return false;
        };
        let (Some(owner), ChargeFactKind::Charge(seen)) = (self.known.customers.get(customer.as_str()), &fact.kind)
        else {
            return false;
        };
        let known = self.known.charges.get(fact.charge.as_str());
        if known.is_none_or(|known| known.client.is_none()) {
            let owner = owner.clone();
            let counts = match reading.source {
                // The event is decided again when its client comes to pay by Stripe, and its amounts count then.
                Source::Event => Charge::of_nothing(seen.currency),
                // What was read is not kept elsewhere, and the charge is known from now on and not read again.
                Source::Object => *seen,
            };
            self.merge_charge(fact, counts, Some((owner, customer.to_string())));
        }
        true
    }

    fn merge_charge(&mut self, fact: &ChargeFact, seen: Charge, owner: Option<(Owner, String)>) -> Merged {
        let id = fact.charge.as_str();
        let earlier = self.known.charges.get(id);
        let gets_an_owner = owner.is_some() && earlier.is_some_and(|known| known.client.is_none());
        if earlier.is_none() || gets_an_owner {
            self.charges.new.push(id.to_owned());
        }
        let mut known = earlier.map(|known| known.charge);
        let merged = match merge(&mut known, seen) {
            Merged::Known | Merged::Older if gets_an_owner => Merged::Changed,
            merged => merged,
        };
        if let (Merged::Changed, Some(charge)) = (merged, known) {
            let told = owner.as_ref().map(|(owner, _)| owner.client.clone());
            let client = told.or_else(|| earlier.and_then(|known| known.client.clone()));
            self.known.charges.insert(id.to_owned(), KnownCharge { client, charge });
            self.charges.charges.push(ChargeRow {
                id: fact.charge.clone(),
                owner,
                charge,
            });
        }
        merged
    }

    /// Tells a person of a dispute that is not settled well, and of a refund that did not arrive, once for each thing that is new. Of an
    /// escrow's refund only escrow tells: it knows whether the refund is made again by itself, which nobody may pay by hand beside that. Of a
    /// dispute about an escrow both tell the same, so that one alert comes of it, and comes as well where escrow was given up.
    pub(super) fn alert_charge(&mut self, statement: &Statement, fact: &ChargeFact, judged: &Judged<'m>) {
        let is_news = match judged.decision.outcome {
            Outcome::Applied | Outcome::Waiting | Outcome::Ignored | Outcome::Rejected => !judged.is_on_record(),
            Outcome::SemanticDuplicate | Outcome::Stale | Outcome::Parked => false,
        };
        if !is_news {
            return;
        }
        let escrow = self.known.escrow_of(statement);
        let alert = match (&fact.kind, escrow) {
            (ChargeFactKind::Dispute(id, dispute), Some(escrow)) if is_of_its_life(&judged.reading.kind) => {
                disputed_escrow(escrow, id, dispute)
            }
            (ChargeFactKind::Dispute(id, dispute), None) => disputed(id, dispute),
            (ChargeFactKind::Refund(id, refund), None) => did_not_arrive(id, refund),
            (ChargeFactKind::Dispute(..) | ChargeFactKind::Refund(..), Some(_)) | (ChargeFactKind::Charge(_), _) => {
                None
            }
        };
        let Some(alert) = alert else { return };
        let Reading {
            event_id, traceparent, ..
        } = judged.reading;
        let alert = alert
            .with("charge", &fact.charge)
            .with("client", judged.client.as_deref().unwrap_or("unknown"))
            .with("event_id", event_id);
        self.outbox
            .push(announcement::alert(alert, self.rules.now, *traceparent));
    }
}

fn did_not_arrive(id: &RefundId, refund: &Refund) -> Option<Alert> {
    let what = match refund.status {
        RefundStatus::Failed => "did not arrive",
        RefundStatus::Canceled => "was withdrawn before it was paid out",
        RefundStatus::Pending | RefundStatus::RequiresAction | RefundStatus::Succeeded => return None,
    };
    let amount = Money::new(refund.amount, refund.currency);
    let summary = format!("A refund of {amount} {what}; the money is back in the balance.");
    Some(Alert::new(AlertKind::RefundFailed, id.as_str(), summary))
}

fn disputed(id: &DisputeId, dispute: &Dispute) -> Option<Alert> {
    if dispute.status.is_settled_well() {
        return None;
    }
    let amount = Money::new(dispute.amount, dispute.currency);
    let summary = format!("A payment of {amount} is disputed: {}.", dispute.status);
    let alert = Alert::new(AlertKind::Dispute, id.as_str(), summary).with("status", dispute.status);
    Some(with_due_date(alert, dispute))
}

/// Whether an event tells how a dispute stands. That its money was taken or came back says nothing new of that.
fn is_of_its_life(kind: &str) -> bool {
    let kind = kind.strip_prefix("v1.").unwrap_or(kind);
    matches!(
        kind,
        "charge.dispute.created" | "charge.dispute.updated" | "charge.dispute.closed"
    )
}

/// In escrow's words, so that whoever is told by both is told once; of what a person is to do, and not of what is done about it.
fn disputed_escrow(escrow: &str, id: &DisputeId, dispute: &Dispute) -> Option<Alert> {
    let news = match dispute.status {
        DisputeStatus::WarningNeedsResponse => DisputeNews::Inquiry,
        DisputeStatus::NeedsResponse | DisputeStatus::AppealNeedsResponse => DisputeNews::Opened,
        DisputeStatus::Lost => DisputeNews::Lost,
        DisputeStatus::WarningUnderReview
        | DisputeStatus::UnderReview
        | DisputeStatus::AppealUnderReview
        | DisputeStatus::WarningClosed
        | DisputeStatus::ChargeRefunded
        | DisputeStatus::Prevented
        | DisputeStatus::Won => return None,
    };
    Some(with_due_date(news.alert(escrow, id), dispute))
}

fn with_due_date(alert: Alert, dispute: &Dispute) -> Alert {
    match dispute.due_by {
        Some(due) => alert.with("evidence_due_by", due.0),
        None => alert,
    }
}
