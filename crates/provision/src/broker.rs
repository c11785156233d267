//! A private RabbitMQ.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::broker_files::{NodeFolder, Ports, Programs, USER};
use crate::claim::{Claim, remove_folder};
use crate::container::Container;
use crate::packages::{self, Needed};
use crate::process::{Process, Spec};
use crate::server::Server;
use crate::{Error, Say};

const IMAGE: &str = "rabbitmq:4-management";
const START_LIMIT: Duration = Duration::from_secs(300);
/// The first start from an image has to download it.
const START_LIMIT_DOCKER: Duration = Duration::from_secs(600);
const EPMD_LIMIT: Duration = Duration::from_secs(30);
const CTL_LIMIT: Duration = Duration::from_secs(180);
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// How a RabbitMQ is provided.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// The folder of its data, configuration and credentials. It keeps its data from one start to the next.
    pub folder: PathBuf,
    /// The AMQP URL of a broker to use instead of starting one (from `AMQP_URL`).
    pub given: Option<String>,
    /// Whether the management API is switched on (costs memory and some CPU).
    pub management: bool,
    /// Whether data that is there is removed first.
    pub clean: bool,
    /// Where its log goes.
    pub log: PathBuf,
}

/// A RabbitMQ that accepts connections. When dropped it is killed.
#[derive(Debug)]
pub struct Broker {
    amqp_url: String,
    api_url: Option<String>,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    server: Server,
    start_limit: Duration,
    ports: Ports,
    management: bool,
    node: Node,
    _claim: Claim,
}

#[derive(Debug)]
enum Node {
    Binaries(Box<Native>),
    Docker(Container),
}

#[derive(Debug)]
struct Native {
    programs: Programs,
    folder: NodeFolder,
    epmd_spec: Spec,
    epmd: Option<Process>,
}

impl Broker {
    /// Provides it in the order that the crate's documentation names, and waits until it accepts connections.
    pub async fn start(options: BrokerOptions, say: Say<'_>) -> Result<Self, Error> {
        if let Some(amqp_url) = options.given {
            say("RabbitMQ: using the broker that AMQP_URL names");
            return Ok(Self {
                amqp_url,
                api_url: None,
                private: None,
            });
        }
        let claim = Claim::take(&options.folder).await?;
        let ports = Ports::free()?;
        let folder = NodeFolder(options.folder.join("node"));
        let node = provide(&options, &folder, ports, say).await?;
        match &node {
            Node::Binaries(_) if options.clean => remove_folder(&folder.0)?,
            // The password is taken by the first start on new data only, so without it nobody can log in.
            Node::Docker(container) if options.clean || !folder.has_password() => container.remove_data().await,
            Node::Binaries(_) | Node::Docker(_) => {}
        }
        folder.write(ports, options.management)?;
        let (spec, container, start_limit) = match &node {
            Node::Binaries(found) => {
                let programs = &found.programs;
                say(&format!(
                    "RabbitMQ: starting {} on 127.0.0.1:{}",
                    programs.server.display(),
                    ports.amqp
                ));
                (native(programs, &folder, &options, ports), None, START_LIMIT)
            }
            Node::Docker(container) => {
                say(&format!("RabbitMQ: starting {IMAGE} in Docker"));
                (
                    in_docker(container, &folder, &options, ports)?,
                    Some(container.clone()),
                    START_LIMIT_DOCKER,
                )
            }
        };
        let password = folder.password()?;
        let server = Server {
            spec,
            stop_signal: Signal::SIGTERM,
            quit_signal: Signal::SIGKILL,
            container,
            process: None,
        };
        let private = Private {
            server,
            start_limit,
            ports,
            management: options.management,
            node,
            _claim: claim,
        };
        let mut broker = Self {
            amqp_url: format!("amqp://{USER}:{password}@127.0.0.1:{}/%2f", ports.amqp),
            api_url: options
                .management
                .then(|| format!("http://{USER}:{password}@127.0.0.1:{}", ports.api)),
            private: Some(private),
        };
        broker.start_again().await?;
        Ok(broker)
    }

    /// The URL of the default vhost.
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// The management API with user and password, when it was asked for.
    pub fn api_url(&self) -> Option<&str> {
        self.api_url.as_deref()
    }

    /// The private broker's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.private.as_ref()?.server.pid()
    }

    /// Whether it runs, with its epmd; a broker that was given always counts as running.
    pub fn is_running(&mut self) -> bool {
        self.private
            .as_mut()
            .is_none_or(|private| private.server.is_running() && private.node.epmd_is_running())
    }

    /// Starts it again after [`Broker::stop`] or [`Broker::kill9`] or a crash: same data, ports and URLs.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        let private = self.ours()?;
        private.node.start_epmd(private.ports).await?;
        let (ports, management) = (private.ports, private.management);
        let ready = || async move { speaks_amqp(ports.amqp).await && (!management || speaks_http(ports.api).await) };
        private.server.start(private.start_limit, ready).await
    }

    /// Lets it end cleanly, with everything on disk.
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.ours()?.server.stop().await;
        Ok(())
    }

    /// Kills it with signal 9.
    pub async fn kill9(&mut self) -> Result<(), Error> {
        self.ours()?.server.kill().await;
        Ok(())
    }

    /// Ends it for good. A broker that was given is left alone.
    pub async fn end(mut self) {
        if let Some(private) = &mut self.private {
            private.server.stop().await;
        }
    }

    /// Runs `rabbitmqctl` with these arguments against the private broker and returns what it printed, for example
    /// `["set_vm_memory_high_watermark", "0"]`, which makes it block its publishers.
    pub async fn ctl(&self, args: &[&str]) -> Result<String, Error> {
        let private = self.private.as_ref().ok_or(Error::NotOurs { what: "RabbitMQ" })?;
        let mut command = match &private.node {
            Node::Binaries(native) => {
                let mut command = Command::new(&native.programs.ctl);
                command.env_clear().envs(native.folder.environment(private.ports));
                command
            }
            Node::Docker(container) => {
                let mut command = Command::new(&container.docker);
                command.args(["exec", &container.name, "rabbitmqctl"]);
                command
            }
        };
        let failed = |output: String| Error::Ctl {
            command: args.join(" "),
            output,
        };
        let command = command
            .arg("--quiet")
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(CTL_LIMIT, command.output()).await;
        let output = ended
            .map_err(|_| failed(format!("no answer within {} s", CTL_LIMIT.as_secs())))?
            .map_err(|source| Error::Spawn {
                program: "rabbitmqctl".to_owned(),
                source,
            })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(failed(
                format!("{}\n{}", text(&output.stdout), text(&output.stderr))
                    .trim()
                    .to_owned(),
            ))
        }
    }

    fn ours(&mut self) -> Result<&mut Private, Error> {
        self.private.as_mut().ok_or(Error::NotOurs { what: "RabbitMQ" })
    }
}

impl Node {
    fn epmd_is_running(&mut self) -> bool {
        match self {
            Self::Binaries(native) => native.epmd.as_mut().is_some_and(|process| process.ended().is_none()),
            Self::Docker(_) => true,
        }
    }

    /// The daemon through which Erlang nodes find each other. A broker starts one itself if there is none, which then outlives
    /// everything: so there always is one, and it is ours.
    async fn start_epmd(&mut self, ports: Ports) -> Result<(), Error> {
        if self.epmd_is_running() {
            return Ok(());
        }
        let Self::Binaries(native) = self else { return Ok(()) };
        let mut process = Process::spawn(native.epmd_spec.clone())?;
        process
            .wait_until(EPMD_LIMIT, || async move { connect(ports.epmd).await.is_some() })
            .await?;
        native.epmd = Some(process);
        Ok(())
    }
}

async fn provide(options: &BrokerOptions, folder: &NodeFolder, ports: Ports, say: Say<'_>) -> Result<Node, Error> {
    let binaries = |programs: Programs| {
        let epmd_spec = epmd(&programs, options, ports);
        Node::Binaries(Box::new(Native {
            programs,
            folder: folder.clone(),
            epmd_spec,
            epmd: None,
        }))
    };
    if let Some(programs) = Programs::find() {
        return Ok(binaries(programs));
    }
    if let Some(container) = Container::available("rabbitmq", &options.folder).await {
        return Ok(Node::Docker(container));
    }
    let needed = Needed {
        what: "RabbitMQ".to_owned(),
        packages: &["rabbitmq-server"],
    };
    packages::install(&needed, &options.folder.join("apt.log"), say).await?;
    Programs::find()
        .map(binaries)
        .ok_or_else(|| packages::missing(needed.packages, &needed.what))
}

fn epmd(programs: &Programs, options: &BrokerOptions, ports: Ports) -> Spec {
    let args = [
        "-port".to_owned(),
        ports.epmd.to_string(),
        "-address".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    Spec {
        name: "epmd".to_owned(),
        program: programs.epmd.clone(),
        args: args.map(Into::into).into(),
        env: Vec::new(),
        inherit_env: false,
        wrapper: Vec::new(),
        folder: options.folder.clone(),
        log: options.log.with_file_name("epmd.log"),
        pid_folder: options.folder.clone(),
        death_signal: Signal::SIGKILL,
    }
}

fn native(programs: &Programs, folder: &NodeFolder, options: &BrokerOptions, ports: Ports) -> Spec {
    Spec {
        name: "rabbitmq".to_owned(),
        program: programs.server.clone(),
        args: Vec::new(),
        env: folder.environment(ports),
        inherit_env: false,
        wrapper: Vec::new(),
        folder: options.folder.clone(),
        log: options.log.clone(),
        pid_folder: options.folder.clone(),
        death_signal: Signal::SIGTERM,
    }
}

fn in_docker(container: &Container, folder: &NodeFolder, options: &BrokerOptions, ports: Ports) -> Result<Spec, Error> {
    let mut args = container.run_args("/var/lib/rabbitmq", &[(ports.amqp, 5672), (ports.api, 15672)]);
    // The node's name contains the host's, and its data is kept by the node's name.
    args.extend(
        [
            "--hostname",
            "holdfast",
            "--env",
            "RABBITMQ_DEFAULT_USER",
            "--env",
            "RABBITMQ_DEFAULT_PASS",
        ]
        .map(str::to_owned),
    );
    args.push(IMAGE.to_owned());
    Ok(Spec {
        name: "rabbitmq".to_owned(),
        program: container.docker.clone(),
        args: args.into_iter().map(Into::into).collect(),
        env: vec![
            ("RABBITMQ_DEFAULT_USER".to_owned(), USER.to_owned()),
            ("RABBITMQ_DEFAULT_PASS".to_owned(), folder.password()?),
        ],
        inherit_env: true,
        wrapper: Vec::new(),
        folder: options.folder.clone(),
        log: options.log.clone(),
        pid_folder: options.folder.clone(),
        death_signal: Signal::SIGTERM,
    })
}

async fn connect(port: u16) -> Option<TcpStream> {
    tokio::time::timeout(PROBE_LIMIT, TcpStream::connect(("127.0.0.1", port)))
        .await
        .ok()?
        .ok()
}

/// Whether a broker greets on this port: it answers the protocol header with a method frame (Connection.Start).
async fn speaks_amqp(port: u16) -> bool {
    speaks(port, b"AMQP\x00\x00\x09\x01", &[1]).await
}

async fn speaks_http(port: u16) -> bool {
    speaks(port, b"GET /api/overview HTTP/1.0\r\n\r\n", b"HTTP/").await
}

async fn speaks(port: u16, question: &[u8], beginning: &[u8]) -> bool {
    let exchange = async {
        let mut stream = connect(port).await?;
        stream.write_all(question).await.ok()?;
        let mut answer = vec![0; beginning.len()];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer == beginning)
    };
    tokio::time::timeout(PROBE_LIMIT, exchange)
        .await
        .ok()
        .flatten()
        .unwrap_or(false)
}
