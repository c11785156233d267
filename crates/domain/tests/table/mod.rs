//! The two sides of the grid: where a client can stand, and what can arrive there.

use std::collections::{BTreeMap, BTreeSet};

use domain::billing::client::Client;
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::billing::state::ClientState;
use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Status};
use domain::ids::{CheckoutSessionId, ClientId, InvoiceId, PriceId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

/// When the current subscription started, was bought and was last seen.
const NOW: i64 = 1_000_000;
/// Beyond the window in which two payments are one act.
const LATER: i64 = NOW + 86_400;

/// A place where a client can stand.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    pub state: ClientState,
    pub because: &'static str,
    known: Known,
}

/// What is known there of the current subscription.
#[derive(Debug, Clone, Copy)]
enum Known {
    Nothing,
    Payment,
    PaymentAndFailure,
    Snapshot { status: Status, paused: bool },
}

impl Standing {
    /// Every place, by state.
    pub fn all() -> Vec<Self> {
        ClientState::ALL.into_iter().flat_map(Self::of).collect()
    }

    /// The ways to come to a state. A new state has to be given its own.
    fn of(state: ClientState) -> Vec<Self> {
        let seen = |status, paused| Known::Snapshot { status, paused };
        let ways = match state {
            ClientState::TrialPending => vec![
                ("by contract, nothing is known of Stripe", Known::Nothing),
                ("its subscription is incomplete", seen(Status::Incomplete, false)),
            ],
            ClientState::TrialActive => vec![
                ("by contract, nothing is known of Stripe", Known::Nothing),
                ("its subscription is trialing", seen(Status::Trialing, false)),
            ],
            ClientState::Active => vec![
                ("its subscription is active", seen(Status::Active, false)),
                ("a checkout was paid, its subscription was not seen yet", Known::Payment),
            ],
            ClientState::PastDue => vec![
                ("its subscription is past due", seen(Status::PastDue, false)),
                ("its subscription is unpaid", seen(Status::Unpaid, false)),
                (
                    "a payment failed after a paid checkout, its subscription was not seen yet",
                    Known::PaymentAndFailure,
                ),
            ],
            ClientState::Paused => vec![
                ("its subscription is paused", seen(Status::Paused, false)),
                (
                    "its subscription is active and collection is paused",
                    seen(Status::Active, true),
                ),
            ],
            ClientState::Canceled => vec![
                ("its subscription was canceled", seen(Status::Canceled, false)),
                (
                    "its subscription expired incomplete",
                    seen(Status::IncompleteExpired, false),
                ),
            ],
        };
        let standing = |(because, known)| Self { state, because, known };
        ways.into_iter().map(standing).collect()
    }

    /// A client that stands there.
    pub fn client(self) -> Client {
        let initial = match self.state {
            ClientState::TrialActive => ClientState::TrialActive,
            ClientState::TrialPending
            | ClientState::Active
            | ClientState::PastDue
            | ClientState::Paused
            | ClientState::Canceled => ClientState::TrialPending,
        };
        let mut client = Client {
            contract: Contract {
                client: ClientId::parse("client_1").expect("an id"),
                source: PaymentSource::Stripe,
                initial,
                has_customer: true,
                price: None,
                currency: Some(Currency::EUR),
            },
            state: initial,
            version: 0,
            speaker: None,
            current_period_end: None,
            subscriptions: BTreeMap::new(),
        };
        let facts = match self.known {
            Known::Nothing => vec![],
            Known::Payment => vec![Kind::CheckoutPaid.fact()],
            Known::PaymentAndFailure => vec![Kind::CheckoutPaid.fact(), Kind::PaymentFailed.fact_at(NOW + 3_600)],
            Known::Snapshot { status, paused } => {
                let observation = Observation {
                    snapshot: snapshot(status, paused),
                    before: Before::default(),
                };
                vec![about(
                    CURRENT,
                    NOW,
                    FactKind::Snapshot {
                        rank: Rank::Updated,
                        observation,
                        other_prices: Vec::new(),
                    },
                )]
            }
        };
        for fact in facts {
            client.observe(&fact);
        }
        client
    }
}

const CURRENT: &str = "sub_current";
const ANOTHER: &str = "sub_later";

macro_rules! kinds {
    ($($name:ident => $told:literal,)*) => {
        /// A kind of fact that can arrive.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($name,)* }

        impl Kind {
            /// All, in the order of the document.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind in words.
            pub fn told(self) -> &'static str {
                match self { $(Self::$name => $told,)* }
            }
        }
    };
}

kinds! {
    Incomplete => "the current subscription is now incomplete",
    Trialing => "the current subscription is now trialing",
    Active => "the current subscription is now active",
    PastDue => "the current subscription is now past due",
    Unpaid => "the current subscription is now unpaid",
    Paused => "the current subscription is now paused",
    CollectionPaused => "the current subscription is now active with collection paused",
    Canceled => "the current subscription is now canceled",
    IncompleteExpired => "the current subscription has now expired incomplete",
    OlderSnapshot => "an older event: the current subscription was active",
    LateCreated => "the current subscription was created, active, told late",
    CanceledBefore => "an older event: the current subscription was canceled",
    WrongCurrency => "the current subscription is now active in another currency",
    CheckoutPaid => "a checkout for the current subscription was paid",
    FirstInvoicePaid => "the first invoice of that checkout was paid",
    NextInvoicePaid => "the next invoice of the current subscription was paid",
    NothingPaid => "an invoice of nothing was paid for the current subscription",
    WrongCurrencyPaid => "an invoice in another currency was paid for the current subscription",
    PaymentFailed => "an invoice of the current subscription failed",
    AnotherIncomplete => "another subscription is incomplete",
    AnotherTrialing => "another subscription is trialing",
    AnotherActive => "another subscription is active",
    AnotherPastDue => "another subscription is past due",
    AnotherUnpaid => "another subscription is unpaid",
    AnotherPaused => "another subscription is paused",
    AnotherCanceled => "another subscription was canceled",
    AnotherExpired => "another subscription expired incomplete",
    AnotherPaid => "an invoice of another subscription was paid",
    AnotherFailed => "an invoice of another subscription failed",
}

impl Kind {
    /// Whether the current subscription may be over after it.
    pub fn ends_the_current_subscription(self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired | Self::CanceledBefore)
    }

    /// A fact of the kind.
    pub fn fact(self) -> Fact {
        let at = match self {
            Self::OlderSnapshot | Self::LateCreated | Self::CanceledBefore => NOW - 60,
            Self::CheckoutPaid => NOW,
            Self::FirstInvoicePaid => NOW + 5,
            _ => LATER,
        };
        self.fact_at(at)
    }

    fn fact_at(self, at: i64) -> Fact {
        let current = |status| (CURRENT, saw(Rank::Updated, snapshot(status, false)));
        let another = |status| {
            let later = Snapshot {
                start: UnixSeconds(LATER),
                ..snapshot(status, false)
            };
            (ANOTHER, saw(Rank::Updated, later))
        };
        let (subscription, kind) = match self {
            Self::Incomplete => current(Status::Incomplete),
            Self::Trialing => current(Status::Trialing),
            Self::Active | Self::OlderSnapshot => current(Status::Active),
            Self::PastDue => current(Status::PastDue),
            Self::Unpaid => current(Status::Unpaid),
            Self::Paused => current(Status::Paused),
            Self::CollectionPaused => (CURRENT, saw(Rank::Updated, snapshot(Status::Active, true))),
            Self::Canceled | Self::CanceledBefore => current(Status::Canceled),
            Self::IncompleteExpired => current(Status::IncompleteExpired),
            Self::LateCreated => (CURRENT, saw(Rank::Created, snapshot(Status::Active, false))),
            Self::WrongCurrency => {
                let currency = Some(dollars());
                (
                    CURRENT,
                    saw(
                        Rank::Updated,
                        Snapshot {
                            currency,
                            ..snapshot(Status::Active, false)
                        },
                    ),
                )
            }
            Self::CheckoutPaid => {
                let session = CheckoutSessionId::parse("cs_1").expect("an id");
                let act = Act::Checkout {
                    session,
                    invoice: Some(invoice("in_1")),
                };
                (
                    CURRENT,
                    FactKind::Paid(Payment {
                        act,
                        made_at: None,
                        amount: Some(Money::new(1_900, Currency::EUR)),
                        prices: BTreeSet::new(),
                    }),
                )
            }
            Self::FirstInvoicePaid => (CURRENT, FactKind::Paid(bill("in_1", true, 1_900, Currency::EUR))),
            Self::NextInvoicePaid => (CURRENT, FactKind::Paid(bill("in_2", false, 1_900, Currency::EUR))),
            Self::NothingPaid => (CURRENT, FactKind::Paid(bill("in_3", false, 0, Currency::EUR))),
            Self::WrongCurrencyPaid => (CURRENT, FactKind::Paid(bill("in_4", false, 1_900, dollars()))),
            Self::PaymentFailed => (CURRENT, FactKind::Failed(bill("in_5", false, 1_900, Currency::EUR))),
            Self::AnotherIncomplete => another(Status::Incomplete),
            Self::AnotherTrialing => another(Status::Trialing),
            Self::AnotherActive => another(Status::Active),
            Self::AnotherPastDue => another(Status::PastDue),
            Self::AnotherUnpaid => another(Status::Unpaid),
            Self::AnotherPaused => another(Status::Paused),
            Self::AnotherCanceled => another(Status::Canceled),
            Self::AnotherExpired => another(Status::IncompleteExpired),
            Self::AnotherPaid => (ANOTHER, FactKind::Paid(bill("in_6", true, 1_900, Currency::EUR))),
            Self::AnotherFailed => (ANOTHER, FactKind::Failed(bill("in_7", true, 1_900, Currency::EUR))),
        };
        about(subscription, at, kind)
    }
}

/// A kind of fact that no row is of would not be decided in the document: a new one stops the build here.
pub const fn has_rows(kind: &FactKind) -> bool {
    match kind {
        FactKind::Snapshot { .. } | FactKind::Paid(_) | FactKind::Failed(_) => true,
    }
}

fn about(subscription: &str, at: i64, kind: FactKind) -> Fact {
    assert!(has_rows(&kind));
    Fact {
        subscription: SubscriptionId::parse(subscription).expect("an id"),
        at: UnixSeconds(at),
        kind,
    }
}

fn saw(rank: Rank, snapshot: Snapshot) -> FactKind {
    FactKind::Snapshot {
        rank,
        observation: Observation {
            snapshot,
            before: Before::default(),
        },
        other_prices: Vec::new(),
    }
}

/// The current subscription.
pub fn snapshot(status: Status, collection_paused: bool) -> Snapshot {
    Snapshot {
        status,
        collection_paused,
        cancel_at_period_end: false,
        start: UnixSeconds(NOW),
        current_period_end: Some(UnixSeconds(NOW + 2_592_000)),
        trial_end: None,
        price: Some(PriceId::parse("price_1").expect("an id")),
        currency: Some(Currency::EUR),
    }
}

fn bill(id: &str, first: bool, cents: i64, currency: Currency) -> Payment {
    Payment {
        act: Act::Invoice {
            invoice: invoice(id),
            first,
        },
        made_at: None,
        amount: Some(Money::new(cents, currency)),
        prices: BTreeSet::new(),
    }
}

fn invoice(id: &str) -> InvoiceId {
    InvoiceId::parse(id).expect("an id")
}

fn dollars() -> Currency {
    Currency::parse("usd").expect("a code")
}
