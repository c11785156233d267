//! What became of an event, and the guard that explains it. Every event ends in exactly one decision.

use super::state::ClientState;
use crate::words::words;

words! {
    /// What became of an event.
    Outcome {
        /// Its facts count; the state changed, or stays what it was.
        Applied => "applied",
        /// Another event of the same business act took effect already.
        SemanticDuplicate => "semantic_duplicate",
        /// Something newer is known.
        Stale => "stale",
        /// It has nothing to say to the state, by a named rule.
        Ignored => "ignored",
        /// It may not speak for the client it names; nothing of it counts.
        Rejected => "rejected",
        /// It is kept until our side knows its client.
        Waiting => "waiting",
        /// It cannot be read, or it could not be decided; a person has to look.
        Parked => "parked",
    }
}

words! {
    /// The guards that explain a decision, in their order (the signature, guard 1, is checked at ingest).
    Guard {
        /// 2: each event id once.
        Idempotency => "idempotency",
        /// 3: the contract, the customer and the session are ours.
        Authority => "authority",
        /// 4: the event speaks of the current subscription.
        Identity => "identity",
        /// 5: nothing older overrides something newer.
        Order => "order",
        /// 6: one business act takes effect once.
        Intent => "intent",
        /// 7: the step is in the graph.
        Transition => "transition",
    }
}

words! {
    /// The rule that decided, by name.
    Reason {
        /// The state changed.
        StateChanged => "state_changed",
        /// The facts were merged; the state they give is the one that was.
        FactsRecorded => "facts_recorded",
        /// The same snapshot is known from another event.
        SnapshotKnown => "snapshot_known",
        /// The same purchase or invoice took effect already.
        ActKnown => "act_known",
        /// A newer snapshot is known.
        NewerSnapshotKnown => "newer_snapshot_known",
        /// Another subscription speaks for the client.
        NotTheCurrentSubscription => "not_the_current_subscription",
        /// The subscription has ended and cannot come back.
        SubscriptionHasEnded => "subscription_has_ended",
        /// The graph has no such step.
        NoSuchTransition => "no_such_transition",
        /// The client does not pay by Stripe.
        PaymentSourceIsNotStripe => "payment_source_is_not_stripe",
        /// The metadata names a client, the customer or the checkout session belongs to another one.
        CustomerOfAnotherClient => "customer_of_another_client",
        /// The subscription is known to belong to another client.
        SubscriptionOfAnotherClient => "subscription_of_another_client",
        /// The price or currency is not the one that was agreed.
        PriceNotContracted => "price_not_contracted",
        /// The customer is not registered for any client yet.
        CustomerUnknown => "customer_unknown",
        /// The charge that a refund or dispute is about is not known yet.
        ChargeUnknown => "charge_unknown",
        /// The client that the metadata names is not known yet.
        ClientUnknown => "client_unknown",
        /// Only registered customers count (`BILLING_REQUIRE_REGISTERED_CUSTOMER`), or the named client has another customer.
        CustomerNotRegistered => "customer_not_registered",
        /// The event belongs to a connected account and never touches billing.
        ConnectedAccount => "connected_account",
        /// A live event in a test system, or the other way round.
        LivemodeMismatch => "livemode_mismatch",
        /// The object that a thin event points to could not be read from Stripe yet.
        ObjectNotRead => "object_not_read",
        /// No rule of billing looks at this type.
        NoEffectOnState => "no_effect_on_state",
        /// An announcement that something will happen.
        Advisory => "advisory",
        /// An invoice that belongs to no subscription.
        InvoiceWithoutSubscription => "invoice_without_subscription",
        /// A charge that was made without a customer, or something about one.
        ChargeWithoutCustomer => "charge_without_customer",
        /// A refund that names no charge.
        RefundWithoutCharge => "refund_without_charge",
        /// A checkout that bought no subscription.
        CheckoutWithoutSubscription => "checkout_without_subscription",
        /// A checkout that is complete and not paid (yet).
        CheckoutNotPaid => "checkout_not_paid",
        /// A payment of nothing: a trial or a full discount.
        ZeroAmount => "zero_amount",
        /// The invoice that a subscription begins with was not paid at this try: before anything was paid that takes nobody down, and once
        /// anything was, it is over.
        FirstInvoiceFailed => "first_invoice_failed",
        /// A `customer.subscription.deleted` without a cancellation in it.
        DeletionWithoutCancellation => "deletion_without_cancellation",
        /// No service handles this type; it is archived.
        NoHandler => "no_handler",
        /// The body cannot be read as what its type promises.
        Unreadable => "unreadable",
        /// Deciding it failed again and again, for a reason that may not lie in it.
        AttemptsUsedUp => "attempts_used_up",
    }
}

impl Reason {
    /// Those that lie in how an event came here, and not in the event: another delivery of it, or the next one after a change of
    /// configuration, may be decided otherwise, so that no mark holds it off.
    pub const OF_A_DELIVERY: [Self; 2] = [Self::ConnectedAccount, Self::LivemodeMismatch];

    /// Whether it is one of [`Self::OF_A_DELIVERY`].
    #[must_use]
    pub fn is_of_a_delivery(self) -> bool {
        Self::OF_A_DELIVERY.contains(&self)
    }
}

/// A change of a client's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: ClientState,
    /// What it is now.
    pub to: ClientState,
}

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The outcome.
    pub outcome: Outcome,
    /// The guard that explains why the state did not change; `None` for an event that passed all of them.
    pub guard: Option<Guard>,
    /// The rule, by name.
    pub reason: Reason,
    /// The state before and after, equal when facts were recorded and the state stayed.
    pub transition: Option<Transition>,
}

impl Decision {
    /// A decision that changes nothing.
    #[must_use]
    pub const fn without_effect(outcome: Outcome, guard: Option<Guard>, reason: Reason) -> Self {
        Self {
            outcome,
            guard,
            reason,
            transition: None,
        }
    }

    /// An event that no rule looks at.
    #[must_use]
    pub const fn ignored(reason: Reason) -> Self {
        Self::without_effect(Outcome::Ignored, None, reason)
    }

    /// An event that may not speak for its client.
    #[must_use]
    pub const fn unauthorised(reason: Reason) -> Self {
        Self::without_effect(Outcome::Rejected, Some(Guard::Authority), reason)
    }

    /// An event that is kept until our side knows its client.
    #[must_use]
    pub const fn waiting(reason: Reason) -> Self {
        Self::without_effect(Outcome::Waiting, Some(Guard::Authority), reason)
    }

    /// Whether the client's state is another one now.
    #[must_use]
    pub fn changed_state(&self) -> bool {
        self.transition
            .is_some_and(|transition| transition.from != transition.to)
    }
}
