//! Who plays: clients of the user's own system, and what is agreed with each. This list and Stripe's own objects are all that
//! the promises are later computed from.

use std::sync::Mutex;

use serde_json::{Value, json};

/// The names, in the order in which they are given away.
const NAMES: [&str; 72] = [
    "ada", "alan", "alma", "anna", "arno", "bella", "boris", "carla", "clara", "dario", "dora", "edgar", "ella",
    "emil", "enzo", "eva", "felix", "fiona", "greta", "gus", "hanna", "hugo", "ida", "igor", "irma", "ivan", "jana",
    "jonas", "kara", "karl", "lara", "leo", "lina", "luis", "maja", "marc", "mila", "nora", "olga", "oskar", "paula",
    "pia", "rosa", "ruth", "sami", "tara", "vera", "zoe", "bruno", "cleo", "doris", "elio", "frida", "georg", "helga",
    "iris", "jakob", "kilian", "lotte", "milo", "nina", "otto", "petra", "quentin", "rita", "simon", "thea", "ulla",
    "viktor", "wanda", "xenia", "yuri",
];

/// How a client pays, by our side's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stripe,
    Manual,
    Nothing,
}

impl Source {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Stripe => "STRIPE",
            Self::Manual => "MANUAL",
            Self::Nothing => "NONE",
        }
    }
}

/// A client.
#[derive(Debug, Clone)]
pub(super) struct Player {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) org: String,
    pub(super) source: Source,
    /// Every customer of Stripe's that is this client's, by registration or by the rule of first use.
    pub(super) customers: Vec<String>,
    pub(super) session: Option<String>,
    pub(super) contracted_price: Option<String>,
    /// The newest subscription.
    pub(super) subscription: String,
}

impl Player {
    /// The body of `PUT /api/clients/{id}`.
    pub(super) fn registration(&self) -> Value {
        let mut body = json!({"org_id": self.org, "payment_source": self.source.word()});
        let given = [
            ("stripe_customer_id", self.customers.last()),
            ("checkout_session_id", self.session.as_ref()),
            ("contracted_price_id", self.contracted_price.as_ref()),
        ];
        if let Some(fields) = body.as_object_mut() {
            fields.extend(
                given
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))),
            );
        }
        body
    }

    /// The name with a capital.
    pub(super) fn called(&self) -> String {
        let mut letters = self.name.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string());
        first.unwrap_or_default() + letters.as_str()
    }
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Cast {
    run: String,
    org: String,
    given: Mutex<usize>,
    players: Mutex<Vec<Player>>,
}

impl Cast {
    /// Nobody yet. `run` makes the ids of this run its own, because a database may hold the clients of earlier ones.
    pub(super) fn new(run: String, org: String) -> Self {
        Self {
            run,
            org,
            given: Mutex::default(),
            players: Mutex::default(),
        }
    }

    /// Somebody new who pays by Stripe.
    pub(super) fn next(&self) -> Player {
        let mut given = lock(&self.given);
        let name = NAMES.get(*given % NAMES.len()).copied().unwrap_or("nobody").to_owned();
        let round = *given / NAMES.len();
        *given += 1;
        let name = if round == 0 { name } else { format!("{name}{round}") };
        Player {
            id: format!("{name}-{}", self.run),
            name,
            org: self.org.clone(),
            source: Source::Stripe,
            customers: Vec::new(),
            session: None,
            contracted_price: None,
            subscription: String::new(),
        }
    }

    /// An organisation that is not the one of the development users.
    pub(super) fn other_org(&self) -> String {
        format!("neighbours-{}", self.run)
    }

    /// Writes down how somebody is now.
    pub(super) fn keep(&self, player: Player) {
        let mut players = lock(&self.players);
        match players.iter_mut().find(|known| known.id == player.id) {
            Some(known) => *known = player,
            None => players.push(player),
        }
    }

    /// Everybody as they are now, in the order of their appearance.
    pub(super) fn players(&self) -> Vec<Player> {
        lock(&self.players).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
