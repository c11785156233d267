//! The files, ports and environment of one private RabbitMQ node.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::claim::{make_private_folder, write_private};
use crate::kept_word::kept_word;
use crate::machine::{find_program, is_program, search_path};
use crate::ports::free_ports;

pub(crate) const USER: &str = "holdfast";
const NODE: &str = "holdfast@localhost";

/// Where RabbitMQ's and Erlang's programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    pub(crate) ctl: PathBuf,
    pub(crate) epmd: PathBuf,
}

impl Programs {
    /// The first complete installation of this machine.
    pub(crate) fn find() -> Option<Self> {
        find_program("erl")?;
        let epmd = find_program("epmd").or_else(|| {
            let known = [
                "/usr/lib/erlang/bin/epmd",
                "/usr/lib64/erlang/bin/epmd",
                "/opt/homebrew/lib/erlang/bin/epmd",
            ];
            known.into_iter().map(PathBuf::from).find(|file| is_program(file))
        })?;
        // Debian's programs in /usr/sbin are wrappers that change the user; the real ones come first.
        let known = [
            "/usr/lib/rabbitmq/bin",
            "/usr/lib64/rabbitmq/bin",
            "/opt/homebrew/opt/rabbitmq/sbin",
        ];
        let on_path = find_program("rabbitmq-server").and_then(|program| program.parent().map(Path::to_owned));
        let folders = known.into_iter().map(PathBuf::from).chain(on_path);
        folders
            .map(|folder| (folder.join("rabbitmq-server"), folder.join("rabbitmqctl")))
            .find(|(server, ctl)| is_program(server) && is_program(ctl))
            .map(|(server, ctl)| Self { server, ctl, epmd })
    }
}

/// The ports of one node, all on loopback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) amqp: u16,
    pub(crate) api: u16,
    pub(crate) epmd: u16,
    pub(crate) distribution: u16,
}

impl Ports {
    pub(crate) fn free() -> Result<Self, Error> {
        free_ports().map(|[amqp, api, epmd, distribution]| Self {
            amqp,
            api,
            epmd,
            distribution,
        })
    }
}

/// The folder of one node.
#[derive(Debug, Clone)]
pub(crate) struct NodeFolder(pub(crate) PathBuf);

impl NodeFolder {
    /// Writes what the node reads at its start. Its data below `mnesia/` is left as it is.
    pub(crate) fn write(&self, ports: Ports, management: bool) -> Result<(), Error> {
        for folder in [self.0.clone(), self.home(), self.0.join("mnesia"), self.0.join("log")] {
            make_private_folder(&folder)?;
        }
        kept_word(&self.home().join(".erlang.cookie"), 0o400)?;
        let plugins = if management {
            "[rabbitmq_management].\n"
        } else {
            "[].\n"
        };
        write_private(&self.0.join("enabled_plugins"), plugins, 0o600)?;
        write_private(
            &self.0.join("rabbitmq.conf"),
            &self.configuration(ports, management)?,
            0o600,
        )?;
        // The port on which Erlang nodes meet would listen on every address without this.
        let advanced = "[{kernel, [{inet_dist_use_interface, {127,0,0,1}}]}].\n";
        write_private(&self.0.join("advanced.config"), advanced, 0o600)
    }

    fn configuration(&self, ports: Ports, management: bool) -> Result<String, Error> {
        let password = self.password()?;
        let mut lines = vec![
            format!("listeners.tcp.1 = 127.0.0.1:{}", ports.amqp),
            format!("default_user = {USER}"),
            format!("default_pass = {password}"),
            "log.console = true".to_owned(),
            "log.console.level = info".to_owned(),
            // A write-ahead log that fills up is moved into segments at once, which stalls everybody for as long as it is large.
            "raft.wal_max_size_bytes = 33554432".to_owned(),
            // How often queues and connections report their numbers; the default of 5 s makes tests wait.
            "collect_statistics_interval = 1000".to_owned(),
        ];
        if management {
            lines.push("management.tcp.ip = 127.0.0.1".to_owned());
            lines.push(format!("management.tcp.port = {}", ports.api));
        }
        Ok(lines.join("\n") + "\n")
    }

    pub(crate) fn has_password(&self) -> bool {
        self.0.join("password").exists()
    }

    /// The user's password, made once: a node keeps the one of its first start.
    pub(crate) fn password(&self) -> Result<String, Error> {
        kept_word(&self.0.join("password"), 0o600)
    }

    fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    /// The whole environment of the node and of `rabbitmqctl`, so that nothing of the user's own RabbitMQ leaks in.
    pub(crate) fn environment(&self, ports: Ports) -> Vec<(String, String)> {
        let path = |name: &str| self.0.join(name).display().to_string();
        let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
        [
            ("PATH", search_path()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", path("home")),
            ("ERL_CRASH_DUMP", path("log/erl_crash.dump")),
            ("ERL_EPMD_PORT", ports.epmd.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_CTL_ERL_ARGS", loopback.to_owned()),
            ("RABBITMQ_DIST_PORT", ports.distribution.to_string()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_NODENAME", NODE.to_owned()),
            // Makes the script exec the VM, so that the child we know is the broker itself.
            ("RUNNING_UNDER_SYSTEMD", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
