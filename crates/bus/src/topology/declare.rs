//! Declaring a topology, again and again without harm.
//!
//! Declaring something that exists with the same arguments changes nothing. Every connection declares everything, so it is sent at once and
//! only the end is answered: one round trip instead of a hundred. With other arguments the broker refuses and closes the channel; then
//! all is declared one by one, each refusal followed by a new channel, so that one error names everything that differs.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString, ShortStringError};
use lapin::{Channel, Connection, ErrorKind};

use super::{Binding, Exchange, QueueFamily, Topology, retry_queue_name};
use crate::connection::{self, BrokerConfig, ConnectError, Purpose};

/// For queues that no consumer settles: looking at a parked message counts as a delivery too, and must never drop it.
const NO_DELIVERY_LIMIT: i32 = 1_000_000_000;

/// Something exists with other arguments than this version of Holdfast declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `queue` or `exchange`.
    pub object: &'static str,
    /// Its name.
    pub name: String,
    /// The argument that differs, as far as the broker says.
    pub argument: Option<String>,
    /// The broker's words.
    pub detail: String,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            object,
            name,
            argument,
            detail,
        } = self;
        write!(f, "{object} '{name}' exists with another ")?;
        match argument {
            Some(argument) => write!(f, "'{argument}'")?,
            None => write!(f, "definition")?,
        }
        write!(f, " ({detail}); ")?;
        match *object {
            "queue" => write!(
                f,
                "arguments of a queue cannot be changed: stop its consumers, move its messages away or let it drain, \
                 delete it, and start again"
            ),
            _ => write!(
                f,
                "arguments of an exchange cannot be changed: delete it and start again, its bindings are declared anew \
                 (publishers get errors meanwhile, nothing is lost)"
            ),
        }
    }
}

/// Why a topology could not be declared.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// No connection.
    #[error("connecting to declare the topology")]
    Connect(#[from] ConnectError),
    /// Objects exist with other arguments; all of them are listed.
    #[error("{}", list(.0))]
    Conflicts(Vec<Conflict>),
    /// A name is longer than AMQP's 255 bytes.
    #[error("the name '{name}' is too long for the broker")]
    Name {
        /// The name.
        name: String,
    },
    /// Any other refusal, for example a missing permission.
    #[error("declaring {what}")]
    Declare {
        /// What was being declared.
        what: String,
        /// The broker's answer.
        #[source]
        source: lapin::Error,
    },
}

fn list(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing to declare.
enum Step {
    Exchange(Exchange),
    Queue { name: String, arguments: FieldTable },
    Binding(Binding),
}

impl Topology {
    /// Declares everything over a connection of its own. For the start of a service, where a conflict must stop it.
    ///
    /// # Errors
    /// See [`TopologyError`].
    pub async fn declare(&self, broker: &BrokerConfig) -> Result<(), TopologyError> {
        let connection = connection::open(broker, Purpose::Declare).await?;
        let declared = self.declare_on(&connection).await;
        connection::close(&connection).await;
        declared
    }

    pub(crate) async fn declare_on(&self, connection: &Connection) -> Result<(), TopologyError> {
        let steps = self.steps();
        if declare_at_once(&steps, connection).await? {
            return Ok(());
        }
        let mut conflicts = Vec::new();
        let mut channel = None;
        for step in steps {
            let current = match channel.take() {
                Some(current) => current,
                None => open_channel(connection).await?,
            };
            match step.declare(&current, Answer::Awaited).await {
                Ok(()) => channel = Some(current),
                Err(error) => conflicts.push(step.conflict(error)?),
            }
        }
        if conflicts.is_empty() {
            Ok(())
        } else {
            Err(TopologyError::Conflicts(conflicts))
        }
    }

    /// Everything in an order in which each target exists before what points at it.
    fn steps(&self) -> Vec<Step> {
        let exchanges = self.exchanges.iter().cloned().map(Step::Exchange);
        let queues = self.queues.iter().flat_map(QueueFamily::steps);
        let bindings = self.bindings.iter().cloned().map(Step::Binding);
        exchanges.chain(queues).chain(bindings).collect()
    }
}

impl QueueFamily {
    fn steps(&self) -> Vec<Step> {
        let mut parked = quorum();
        set_int(&mut parked, "x-delivery-limit", NO_DELIVERY_LIMIT);

        let mut work = quorum();
        dead_letter_to(&mut work, &self.parked_queue());
        set_int(
            &mut work,
            "x-delivery-limit",
            i32::try_from(self.delivery_limit).unwrap_or(i32::MAX),
        );
        if let Some(max_length) = self.max_length {
            set_int(&mut work, "x-max-length", i32::try_from(max_length).unwrap_or(i32::MAX));
        }

        let mut steps = vec![
            Step::Queue {
                name: self.parked_queue(),
                arguments: parked,
            },
            Step::Queue {
                name: self.name.clone(),
                arguments: work,
            },
        ];
        steps.extend(self.retry.delays().iter().map(|delay| {
            let mut retry = quorum();
            dead_letter_to(&mut retry, &self.name);
            set_int(
                &mut retry,
                "x-message-ttl",
                i32::try_from(delay.as_millis()).unwrap_or(i32::MAX),
            );
            Step::Queue {
                name: retry_queue_name(&self.name, *delay),
                arguments: retry,
            }
        }));
        steps
    }
}

/// What every queue has: replication, and a refusal instead of silently dropping its oldest message when it is full.
fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    set_text(&mut arguments, "x-queue-type", "quorum");
    set_text(&mut arguments, "x-overflow", "reject-publish");
    arguments
}

/// Dead-letters to a queue by the default exchange, and keeps a message until the target has confirmed it.
fn dead_letter_to(arguments: &mut FieldTable, queue: &str) {
    set_text(arguments, "x-dead-letter-exchange", "");
    set_text(arguments, "x-dead-letter-routing-key", queue);
    set_text(arguments, "x-dead-letter-strategy", "at-least-once");
}

fn set_text(arguments: &mut FieldTable, name: &'static str, value: &str) {
    arguments.insert(ShortString::from(name), AMQPValue::LongString(LongString::from(value)));
}

fn set_int(arguments: &mut FieldTable, name: &'static str, value: i32) {
    arguments.insert(ShortString::from(name), AMQPValue::LongInt(value));
}

/// Declares everything in one round trip, and says whether nothing was refused.
async fn declare_at_once(steps: &[Step], connection: &Connection) -> Result<bool, TopologyError> {
    let channel = open_channel(connection).await?;
    for step in steps {
        match step.declare(&channel, Answer::None).await {
            Ok(()) => {}
            Err(StepError::Name) => return Err(step.misnamed()),
            Err(StepError::Broker(_)) => return Ok(false),
        }
    }
    // A channel's methods are worked off in their order, and none after one that was refused.
    let Some(last) = steps.last() else { return Ok(true) };
    let is_declared = last.declare(&channel, Answer::Awaited).await.is_ok();
    if is_declared {
        // It is of no more use; a failure is the connection's, which whoever uses it next will see.
        drop(channel.close(200, "declared".into()).await);
    }
    Ok(is_declared)
}

/// Whether the broker says that it has done what it was told. What it refuses it always tells, by closing the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    None,
}

/// A step that did not succeed.
enum StepError {
    Name,
    Broker(lapin::Error),
}

impl From<lapin::Error> for StepError {
    fn from(error: lapin::Error) -> Self {
        Self::Broker(error)
    }
}

impl From<ShortStringError> for StepError {
    fn from(_: ShortStringError) -> Self {
        Self::Name
    }
}

impl Step {
    async fn declare(&self, channel: &Channel, answer: Answer) -> Result<(), StepError> {
        let nowait = answer == Answer::None;
        match self {
            Self::Exchange(exchange) => {
                let mut arguments = FieldTable::default();
                if let Some(alternate) = &exchange.alternate {
                    set_text(&mut arguments, "alternate-exchange", alternate);
                }
                let options = ExchangeDeclareOptions {
                    passive: false,
                    durable: true,
                    auto_delete: false,
                    internal: false,
                    nowait,
                };
                let name = ShortString::try_new(exchange.name.as_str())?;
                channel
                    .exchange_declare(name, exchange.kind.kind(), options, arguments)
                    .await?;
            }
            Self::Queue { name, arguments } => {
                let options = QueueDeclareOptions {
                    passive: false,
                    durable: true,
                    exclusive: false,
                    auto_delete: false,
                    nowait,
                };
                channel
                    .queue_declare(ShortString::try_new(name.as_str())?, options, arguments.clone())
                    .await?;
            }
            Self::Binding(Binding {
                exchange,
                pattern,
                queue,
            }) => {
                let (queue, exchange) = (
                    ShortString::try_new(queue.as_str())?,
                    ShortString::try_new(exchange.as_str())?,
                );
                let pattern = ShortString::try_new(pattern.as_str())?;
                let options = QueueBindOptions { nowait };
                channel
                    .queue_bind(queue, exchange, pattern, options, FieldTable::default())
                    .await?;
            }
        }
        Ok(())
    }

    fn identity(&self) -> (&'static str, String) {
        match self {
            Self::Exchange(exchange) => ("exchange", exchange.name.clone()),
            Self::Queue { name, .. } => ("queue", name.clone()),
            Self::Binding(Binding {
                exchange,
                pattern,
                queue,
            }) => ("binding", format!("{exchange} --{pattern}--> {queue}")),
        }
    }

    fn misnamed(&self) -> TopologyError {
        TopologyError::Name {
            name: self.identity().1,
        }
    }

    /// Sorts a refusal: other arguments are a conflict, everything else ends the declaring.
    fn conflict(&self, error: StepError) -> Result<Conflict, TopologyError> {
        let StepError::Broker(source) = error else {
            return Err(self.misnamed());
        };
        let (object, name) = self.identity();
        if let ErrorKind::ProtocolError(answer) = source.kind() {
            let detail = answer.get_message().to_string();
            if detail.starts_with("PRECONDITION_FAILED") {
                return Ok(Conflict {
                    object,
                    name,
                    argument: argument_in(&detail),
                    detail,
                });
            }
        }
        Err(TopologyError::Declare {
            what: format!("{object} '{name}'"),
            source,
        })
    }
}

/// The argument that the broker's refusal names: "inequivalent arg 'x-message-ttl' for queue ...".
fn argument_in(detail: &str) -> Option<String> {
    let (_, rest) = detail.split_once("arg '")?;
    let (argument, _) = rest.split_once('\'')?;
    Some(argument.to_owned())
}

async fn open_channel(connection: &Connection) -> Result<Channel, TopologyError> {
    let what = "the topology (opening a channel)".to_owned();
    connection
        .create_channel()
        .await
        .map_err(|source| TopologyError::Declare { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_names_the_argument() {
        let detail =
            "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received '5' but ...";
        assert_eq!(argument_in(detail).as_deref(), Some("x-message-ttl"));
        assert_eq!(argument_in("PRECONDITION_FAILED - something else"), None);
    }

    #[test]
    fn the_targets_of_dead_letters_come_before_their_sources() {
        let steps = QueueFamily::new("q").steps();
        let names = steps.iter().map(|step| step.identity().1).collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "q.parked",
                "q",
                "q.retry.1s",
                "q.retry.5s",
                "q.retry.30s",
                "q.retry.2m",
                "q.retry.10m"
            ]
        );
    }
}
