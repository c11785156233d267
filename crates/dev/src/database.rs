//! The system's database: made before the migrations, given its logins and its organisation after them.

use anyhow::{Context, anyhow, bail};
use reqwest::Url;
use tokio_postgres::{Client, NoTls};

use crate::secrets::Secrets;

const NAME: &str = "holdfast";

/// The URL of a database for the system on a private server, made if it is missing.
pub(crate) async fn create(superuser: &str) -> anyhow::Result<String> {
    let client = connect(superuser).await?;
    let exists = client
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&NAME])
        .await?
        .is_some();
    if !exists {
        client
            .batch_execute(&format!("CREATE DATABASE {NAME}"))
            .await
            .context("creating the database")?;
    }
    with(superuser, |url| {
        url.set_path(NAME);
        Ok(())
    })
}

/// The same database as another role.
pub(crate) fn url_as(superuser: &str, role: &str, password: &str) -> anyhow::Result<String> {
    with(superuser, |url| {
        url.set_username(role).and_then(|()| url.set_password(Some(password)))
    })
}

/// The same database as a tenant who may see one organisation: the session setting travels in the URL.
pub(crate) fn url_as_tenant(superuser: &str, secrets: &Secrets) -> anyhow::Result<String> {
    let url = url_as(superuser, "holdfast_tenant", &secrets.tenant_password)?;
    with(&url, |url| {
        url.set_query(Some(&format!("options=-c%20holdfast.org_ids%3D{}", secrets.org_id)));
        Ok(())
    })
}

fn with(given: &str, change: impl FnOnce(&mut Url) -> Result<(), ()>) -> anyhow::Result<String> {
    let mut url = Url::parse(given).context("the database's URL")?;
    change(&mut url).map_err(|()| anyhow!("the database's URL names no host"))?;
    Ok(url.into())
}

/// Lets the two roles log in, and puts the organisation of the development tokens into the tables.
pub(crate) async fn furnish(superuser: &str, secrets: &Secrets) -> anyhow::Result<()> {
    let client = connect(superuser).await?;
    for (role, password) in [
        ("holdfast_service", &secrets.service_password),
        ("holdfast_tenant", &secrets.tenant_password),
    ] {
        if !password.chars().all(|c| c.is_ascii_alphanumeric()) {
            bail!("the password of {role} is not letters and digits");
        }
        let login = format!("ALTER ROLE {role} LOGIN PASSWORD '{password}'");
        client
            .batch_execute(&login)
            .await
            .with_context(|| format!("letting {role} log in"))?;
    }
    let org = secrets.org_id.to_string();
    let organisation =
        "INSERT INTO organizations (id, name) VALUES ($1, 'Holdfast development') ON CONFLICT DO NOTHING";
    client
        .execute(organisation, &[&org])
        .await
        .context("inserting the organisation")?;
    for (user, role) in [(secrets.admin_user_id, "admin"), (secrets.member_user_id, "member")] {
        let member = "INSERT INTO org_members (org_id, user_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let inserted = client.execute(member, &[&org, &user.to_string(), &role]).await;
        inserted.with_context(|| format!("inserting the {role} of the organisation"))?;
    }
    Ok(())
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connecting to the database")?;
    tokio::spawn(connection);
    Ok(client)
}
