//! The secrets of a development system: made once per data folder, so that a second start does not invalidate what scripts
//! and the simulator remember. The tokens are made at each start.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use service_kit::auth::{Claims, Role, sign};
use service_kit::secret::SecretString;
use uuid::Uuid;

const LENGTH: usize = 48;
const TOKEN_DAYS: i64 = 30;
pub(crate) const ADMIN_EMAIL: &str = "admin@holdfast.test";
pub(crate) const MEMBER_EMAIL: &str = "member@holdfast.test";

/// Everything that a development system keeps secret, and the ids that go with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) auth_jwt_secret: String,
    pub(crate) webhook_secret: String,
    pub(crate) connect_webhook_secret: String,
    pub(crate) reconcile_secret: String,
    pub(crate) monitor_secret: String,
    pub(crate) stripe_secret_key: String,
    pub(crate) service_password: String,
    pub(crate) tenant_password: String,
    pub(crate) org_id: Uuid,
    pub(crate) admin_user_id: Uuid,
    pub(crate) member_user_id: Uuid,
}

impl Secrets {
    /// Those in `path`, made if the file is not there.
    pub(crate) fn kept_in(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                serde_json::from_str(&text).with_context(|| format!("{} is damaged: remove it", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Self::make();
                let mut options = std::fs::OpenOptions::new();
                let opened = options.write(true).create_new(true).mode(0o600).open(path);
                let written = opened.and_then(|mut file| file.write_all(&serde_json::to_vec_pretty(&secrets)?));
                written.with_context(|| format!("writing {}", path.display()))?;
                Ok(secrets)
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    fn make() -> Self {
        Self {
            auth_jwt_secret: random(),
            webhook_secret: format!("whsec_{}", random()),
            connect_webhook_secret: format!("whsec_{}", random()),
            reconcile_secret: random(),
            monitor_secret: random(),
            stripe_secret_key: format!("sk_test_{}", random()),
            service_password: random(),
            tenant_password: random(),
            org_id: Uuid::now_v7(),
            admin_user_id: Uuid::now_v7(),
            member_user_id: Uuid::now_v7(),
        }
    }

    /// Tokens of the service, the admin and the member, in this order.
    pub(crate) fn tokens(&self) -> anyhow::Result<[String; 3]> {
        let exp = (chrono::Utc::now() + chrono::Duration::days(TOKEN_DAYS)).timestamp();
        let secret = SecretString::from(self.auth_jwt_secret.clone());
        let token = |sub: String, email: Option<&str>, role: Role| {
            sign(
                &secret,
                &Claims {
                    sub,
                    email: email.map(str::to_owned),
                    role,
                    exp,
                },
            )
            .context("signing a token")
        };
        Ok([
            token("cargo-dev".to_owned(), None, Role::Service)?,
            token(self.admin_user_id.to_string(), Some(ADMIN_EMAIL), Role::User)?,
            token(self.member_user_id.to_string(), Some(MEMBER_EMAIL), Role::User)?,
        ])
    }
}

fn random() -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(LENGTH)
        .map(char::from)
        .collect()
}
