//! The words that Stripe uses for states and reasons. A word that did not exist when this was written is kept as it is:
//! what to do with it is the consumer's decision, and reading an event never fails for it.

/// Declares an enum of known words with a last variant that keeps any other.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* #[doc = concat!("`", $word, "`")] $variant,)+
            /// A word unknown to this version of the crate.
            Unknown(String),
        }

        impl $name {
            /// The word as Stripe writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::Unknown(word),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// `subscription.status`. `canceled` and `incomplete_expired` never change again for one subscription.
    SubscriptionStatus {
        Incomplete = "incomplete",
        IncompleteExpired = "incomplete_expired",
        Trialing = "trialing",
        Active = "active",
        PastDue = "past_due",
        Canceled = "canceled",
        Unpaid = "unpaid",
        Paused = "paused",
    }
}

words! {
    /// `invoice.status`.
    InvoiceStatus {
        Draft = "draft",
        Open = "open",
        Paid = "paid",
        Uncollectible = "uncollectible",
        Void = "void",
    }
}

words! {
    /// `invoice.billing_reason`: why the invoice was made.
    BillingReason {
        SubscriptionCreate = "subscription_create",
        SubscriptionCycle = "subscription_cycle",
        SubscriptionUpdate = "subscription_update",
        SubscriptionThreshold = "subscription_threshold",
        Subscription = "subscription",
        Manual = "manual",
        Upcoming = "upcoming",
        QuoteAccept = "quote_accept",
        AutomaticPendingInvoiceItemInvoice = "automatic_pending_invoice_item_invoice",
    }
}

words! {
    /// `checkout.session.mode`.
    CheckoutMode {
        Payment = "payment",
        Setup = "setup",
        Subscription = "subscription",
    }
}

words! {
    /// `checkout.session.status`. `complete` does not mean paid.
    CheckoutStatus {
        Open = "open",
        Complete = "complete",
        Expired = "expired",
    }
}

words! {
    /// `checkout.session.payment_status`: what says whether money came in.
    CheckoutPaymentStatus {
        Paid = "paid",
        /// Also for delayed methods whose money is on the way.
        Unpaid = "unpaid",
        /// Trials and full discounts.
        NoPaymentRequired = "no_payment_required",
    }
}

words! {
    /// `charge.status`.
    ChargeStatus {
        Succeeded = "succeeded",
        Pending = "pending",
        Failed = "failed",
    }
}

words! {
    /// `refund.status`. A refund can fail up to 30 days after it was pending or even succeeded.
    RefundStatus {
        Pending = "pending",
        RequiresAction = "requires_action",
        Succeeded = "succeeded",
        Failed = "failed",
        Canceled = "canceled",
    }
}

words! {
    /// `dispute.status`. `warning_*` moves no money; `lost` can still become `won`.
    DisputeStatus {
        WarningNeedsResponse = "warning_needs_response",
        WarningUnderReview = "warning_under_review",
        WarningClosed = "warning_closed",
        NeedsResponse = "needs_response",
        UnderReview = "under_review",
        Won = "won",
        Lost = "lost",
        /// Since 2025-08-27.
        Prevented = "prevented",
        /// Since 2026-10-28.
        AppealNeedsResponse = "appeal_needs_response",
        /// Since 2026-10-28.
        AppealUnderReview = "appeal_under_review",
    }
}

words! {
    /// `payment_intent.status`.
    PaymentIntentStatus {
        RequiresPaymentMethod = "requires_payment_method",
        RequiresConfirmation = "requires_confirmation",
        RequiresAction = "requires_action",
        Processing = "processing",
        RequiresCapture = "requires_capture",
        Canceled = "canceled",
        Succeeded = "succeeded",
    }
}

words! {
    /// `payment_intent.capture_method`.
    CaptureMethod {
        Automatic = "automatic",
        /// The default since 2024-04-10.
        AutomaticAsync = "automatic_async",
        Manual = "manual",
    }
}

words! {
    /// `payment_intent.cancellation_reason`.
    CancellationReason {
        RequestedByCustomer = "requested_by_customer",
        Duplicate = "duplicate",
        Fraudulent = "fraudulent",
        Abandoned = "abandoned",
        Automatic = "automatic",
        FailedInvoice = "failed_invoice",
        VoidInvoice = "void_invoice",
        /// Since basil.
        Expired = "expired",
    }
}

words! {
    /// `payout.status`.
    PayoutStatus {
        Paid = "paid",
        Pending = "pending",
        InTransit = "in_transit",
        Canceled = "canceled",
        /// May follow `paid`.
        Failed = "failed",
    }
}

words! {
    /// `account.capabilities.*`: whether an account may do something.
    CapabilityStatus {
        Active = "active",
        Inactive = "inactive",
        Pending = "pending",
    }
}

words! {
    /// `invoice_payment.status`.
    InvoicePaymentStatus {
        Open = "open",
        Paid = "paid",
        Canceled = "canceled",
    }
}
