//! Organisations and who belongs to them.

use deadpool_postgres::GenericClient;
use domain::ids::OrgId;

use crate::error::{DbError, During as _};

/// What a member may do in an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrgRole {
    /// Sees the organisation's clients, and all operations data (ALT-4).
    Admin,
    /// Sees the organisation's clients.
    Member,
}

impl OrgRole {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "admin" => Some(Self::Admin),
            "member" => Some(Self::Member),
            _ => None,
        }
    }
}

/// Makes an organisation unless it is known; a known one keeps its name.
///
/// # Errors
/// When the id has a comma (it could not be named in a tenant's setting) or the statement fails.
pub async fn ensure_organization(conn: &impl GenericClient, org: &OrgId, name: &str) -> Result<(), DbError> {
    const OPERATION: &str = "ensure_organization";
    let statement = conn
        .prepare_cached("INSERT INTO organizations (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .await
        .during(OPERATION)?;
    conn.execute(&statement, &[&org.as_str(), &name])
        .await
        .during(OPERATION)
        .map(drop)
}

/// What a user may do in an organisation; `None` for a stranger.
///
/// # Errors
/// When the statement fails or the row cannot be read.
pub async fn find_membership(conn: &impl GenericClient, user: &str, org: &OrgId) -> Result<Option<OrgRole>, DbError> {
    const OPERATION: &str = "find_membership";
    let statement = conn
        .prepare_cached("SELECT role FROM org_members WHERE org_id = $1 AND user_id = $2")
        .await
        .during(OPERATION)?;
    let row = conn
        .query_opt(&statement, &[&org.as_str(), &user])
        .await
        .during(OPERATION)?;
    let Some(row) = row else { return Ok(None) };
    let role: &str = row.get(0);
    let unknown = || DbError::Value {
        operation: OPERATION,
        detail: format!("role {role}"),
    };
    OrgRole::parse(role).ok_or_else(unknown).map(Some)
}

/// Whether a user is an admin of any organisation, which is what operations data asks for (ALT-4).
///
/// # Errors
/// When the statement fails.
pub async fn is_admin_anywhere(conn: &impl GenericClient, user: &str) -> Result<bool, DbError> {
    const OPERATION: &str = "is_admin_anywhere";
    let statement = conn
        .prepare_cached("SELECT EXISTS (SELECT FROM org_members WHERE user_id = $1 AND role = 'admin')")
        .await
        .during(OPERATION)?;
    Ok(conn.query_one(&statement, &[&user]).await.during(OPERATION)?.get(0))
}

/// Makes a user a member of a known organisation, or changes the role of one who is.
///
/// # Errors
/// When the organisation is unknown or the statement fails.
pub async fn upsert_member(conn: &impl GenericClient, user: &str, org: &OrgId, role: OrgRole) -> Result<(), DbError> {
    const OPERATION: &str = "upsert_member";
    let statement = conn
        .prepare_cached(
            "INSERT INTO org_members (org_id, user_id, role) VALUES ($1, $2, $3)
             ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role",
        )
        .await
        .during(OPERATION)?;
    conn.execute(&statement, &[&org.as_str(), &user, &role.as_str()])
        .await
        .during(OPERATION)
        .map(drop)
}
