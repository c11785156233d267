//! The steps of the way of money, by name, so that a test can end the process at each of them.
//!
//! A step is a commit that changed something, or a call to Stripe, before and after it. This is the only way to either: [`Store`] and
//! [`Stripe`] hold the database and the client to themselves and want a name. So the list of steps is complete by construction, and a
//! new step is in the grid of crashes (`tests/crash_grid.rs`) with its name.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use db::error::TransactError;
use db::escrow::operations::Work;
use db::{Conn, Database, DbError, Transaction, TxnFuture};
use domain::escrow::held::Task;
use stripe_gateway::client::Client;

use crate::tally;

/// Names, with the list of all of them.
macro_rules! names {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

names! {
    /// What was committed. It is kept; everything else is gone with the process.
    Commit {
        /// A recipient's account, as Stripe has just told of it.
        AccountKept => "account_kept",
        /// An escrow and the intent to make its payment.
        Created => "created",
        /// The answer to the request that has created an escrow, under the caller's key.
        AnswerKept => "answer_kept",
        /// A command with the intents that follow from it.
        Commanded => "commanded",
        /// An expired escrow is given back, with the intents that follow from that, or is set aside.
        Expired => "expired",
        /// The breaker's alert.
        BreakerTold => "breaker_told",
        /// An authorisation is captured in time.
        Secured => "secured",
        /// A job's slot, which says who of all replicas runs it.
        SlotTaken => "slot_taken",
        /// A call is marked as being made, or as being looked up.
        PickedUp => "picked_up",
        /// An operation that was not begun is over, because its escrow does not want it any more.
        LetGo => "let_go",
        /// What the payment's charge is called.
        ChargeLearned => "charge_learned",
        /// The outcome of a call, with the ledger's postings.
        Settled => "settled",
        /// An event, whose message is not acknowledged.
        EventDecided => "event_decided",
        /// A person had a recipient's account read, and its escrow has heard what it is.
        AccountRead => "account_read",
        /// News of accounts were told to one escrow.
        NewsTold => "news_told",
    }
}

names! {
    /// What Stripe is asked for.
    Ask {
        /// To make a payment.
        CreatePayment => "create_payment",
        /// To capture it.
        Capture => "capture",
        /// To give it up.
        Cancel => "cancel",
        /// To pay a recipient.
        Transfer => "transfer",
        /// To take a transfer back.
        Reverse => "reverse",
        /// To pay the payer back.
        Refund => "refund",
        /// What a call has really done.
        Look => "look",
        /// What the payment's charge is called.
        Charge => "charge",
        /// The secret of whoever pays.
        Secret => "secret",
        /// Whether a recipient's account exists and can receive, before an escrow is created for it.
        Recipient => "recipient",
        /// How an account is now, after a refusal said that it cannot receive, or because a person asks.
        Account => "account",
        /// When an authorisation ends.
        AuthorizationEnd => "authorization_end",
        /// What an event does not say: the object that it points to, or whose payment it is about.
        EventObject => "event_object",
    }
}

impl Ask {
    /// What an operation asks for.
    pub(crate) const fn of(work: &Work) -> Self {
        match work {
            Work::CreatePayment => Self::CreatePayment,
            Work::Job(Task::Capture) => Self::Capture,
            Work::Job(Task::Cancel) => Self::Cancel,
            Work::Job(Task::Transfer(_)) => Self::Transfer,
            Work::Job(Task::Reverse(..)) => Self::Reverse,
            Work::Job(Task::Refund) => Self::Refund,
        }
    }
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// This was committed, and nothing that comes after it has happened.
    Committed(Commit),
    /// Stripe is about to be asked.
    Asking(Ask),
    /// Stripe has answered, or has not, and nothing of that is written down.
    Asked(Ask),
}

impl Step {
    /// Every step.
    pub fn all() -> impl Iterator<Item = Self> {
        let commits = Commit::ALL.iter().copied().map(Self::Committed);
        let asks = Ask::ALL.iter().copied();
        commits.chain(asks.flat_map(|ask| [Self::Asking(ask), Self::Asked(ask)]))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed(commit) => write!(f, "committed.{}", commit.as_str()),
            Self::Asking(ask) => write!(f, "asking.{}", ask.as_str()),
            Self::Asked(ask) => write!(f, "asked.{}", ask.as_str()),
        }
    }
}

/// Is told of each step, and may end the process there.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<dyn Fn(Step) + Send + Sync>>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}

impl Steps {
    /// Tells `watcher`.
    #[must_use]
    pub fn watched_by(watcher: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watcher)))
    }

    fn tell(&self, step: Step) {
        if let Some(watcher) = &self.0 {
            watcher(step);
        }
    }
}

/// The database, where every commit has a name.
#[derive(Clone)]
pub(crate) struct Store {
    database: Database,
    steps: Steps,
}

impl Store {
    pub(crate) const fn new(database: Database, steps: Steps) -> Self {
        Self { database, steps }
    }

    /// Commits what `body` does.
    pub(crate) async fn commit<'env, T, E, F>(&self, name: Commit, body: F) -> Result<T, E>
    where
        E: TransactError,
        F: for<'t> Fn(&'t Transaction<'t>) -> TxnFuture<'env, 't, T, E> + Sync,
    {
        self.commit_as(|_| Some(name), body).await
    }

    /// Commits what `body` does; it is a step only where it changed something.
    pub(crate) async fn commit_if<'env, T, E, F>(
        &self,
        name: Commit,
        is_changed: impl FnOnce(&T) -> bool,
        body: F,
    ) -> Result<T, E>
    where
        E: TransactError,
        F: for<'t> Fn(&'t Transaction<'t>) -> TxnFuture<'env, 't, T, E> + Sync,
    {
        self.commit_as(|done| is_changed(done).then_some(name), body).await
    }

    /// Commits what `body` does, which has a name only then. Without one it changed nothing, but for when to look again.
    pub(crate) async fn commit_as<'env, T, E, F>(
        &self,
        name: impl FnOnce(&T) -> Option<Commit>,
        body: F,
    ) -> Result<T, E>
    where
        E: TransactError,
        F: for<'t> Fn(&'t Transaction<'t>) -> TxnFuture<'env, 't, T, E> + Sync,
    {
        let transaction = self.database.transact(|txn| {
            tally::begin();
            body(txn)
        });
        let done = tally::counted(transaction).await?;
        if let Some(name) = name(&done) {
            self.steps.tell(Step::Committed(name));
        }
        Ok(done)
    }

    /// Reads, with locks; changes nothing.
    pub(crate) async fn read<'env, T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: TransactError,
        F: for<'t> Fn(&'t Transaction<'t>) -> TxnFuture<'env, 't, T, E> + Sync,
    {
        self.database.transact(body).await
    }

    /// A connection to read from; changes nothing.
    pub(crate) async fn reader(&self) -> Result<Conn, DbError> {
        self.database.conn().await
    }
}

/// Stripe, where every call has a name.
#[derive(Clone)]
pub(crate) struct Stripe {
    client: Client,
    steps: Steps,
}

impl Stripe {
    pub(crate) const fn new(client: Client, steps: Steps) -> Self {
        Self { client, steps }
    }

    /// Makes a call.
    pub(crate) async fn ask<'a, F: Future>(&'a self, name: Ask, call: impl FnOnce(&'a Client) -> F) -> F::Output {
        self.steps.tell(Step::Asking(name));
        let answer = call(&self.client).await;
        self.steps.tell(Step::Asked(name));
        answer
    }
}
