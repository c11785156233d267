//! A broker for one test that has to stop, kill or block it.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use provision::{Broker, BrokerOptions, sweep};
use uuid::Uuid;

/// A RabbitMQ of its own (it takes some seconds to start), with everything that [`Broker`] can do: `stop`, `kill9`,
/// `start_again`, and `ctl`, for example `ctl(&["set_vm_memory_high_watermark", "0"])` to block its publishers. It is gone,
/// with its folder, when dropped; what a killed test left is removed by the next one.
#[derive(Debug)]
pub struct PrivateBroker {
    broker: Option<Broker>,
    folder: PathBuf,
}

impl PrivateBroker {
    /// Starts it without the management API.
    pub async fn start() -> Self {
        let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/holdfast/private");
        sweep(&parent).await.expect("removing what earlier tests left");
        let folder = parent.join(Uuid::new_v4().simple().to_string());
        let options = BrokerOptions {
            folder: folder.clone(),
            given: None,
            management: false,
            clean: false,
            log: folder.join("rabbitmq.log"),
        };
        match Broker::start(options, &|_| ()).await {
            Ok(broker) => Self {
                broker: Some(broker),
                folder,
            },
            Err(error) => panic!("a broker for this test: {error}"),
        }
    }
}

impl Deref for PrivateBroker {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        self.broker.as_ref().expect("the broker is there until the drop")
    }
}

impl DerefMut for PrivateBroker {
    fn deref_mut(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("the broker is there until the drop")
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        drop(self.broker.take());
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("testkit: removing {}: {error}", self.folder.display());
        }
    }
}
