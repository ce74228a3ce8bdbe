//! Users, passwords, grants.

use super::{Environment, Result, ddl};
use crate::influxql::ast::Privilege;
use crate::meta::{Command, MetaError, Privilege as Granted};

/// Creating a user again with the same password and rights is no error.
pub async fn create(environment: &impl Environment, name: &str, password: &str, admin: bool) -> Result<()> {
    if name.is_empty() {
        return Err(MetaError::UsernameRequired.into());
    }
    if let Some(known) = environment.meta().user(name) {
        let same = known.admin == admin
            && environment.verify_password(password.to_owned(), known.hash.clone()).await?;
        return if same { Ok(()) } else { Err(MetaError::UserExists.into()) };
    }
    let hash = environment.hash_password(password.to_owned()).await?;
    ddl::propose(environment, Command::CreateUser { name: name.to_owned(), hash, admin }).await
}

pub async fn set_password(environment: &impl Environment, name: &str, password: &str) -> Result<()> {
    if environment.meta().user(name).is_none() {
        return Err(MetaError::UserNotFound.into());
    }
    let hash = environment.hash_password(password.to_owned()).await?;
    ddl::propose(environment, Command::SetPassword { name: name.to_owned(), hash }).await
}

pub async fn set_admin(environment: &impl Environment, user: &str, admin: bool) -> Result<()> {
    ddl::propose(environment, Command::SetAdmin { user: user.to_owned(), admin }).await
}

pub async fn set_privilege(
    environment: &impl Environment,
    user: &str,
    database: &str,
    privilege: Granted,
) -> Result<()> {
    let command = Command::SetPrivilege { user: user.to_owned(), database: database.to_owned(), privilege };
    ddl::propose(environment, command).await
}

/// Takes away a part of what was granted; what is left, even nothing, stays listed.
pub async fn revoke(
    environment: &impl Environment,
    user: &str,
    database: &str,
    revoked: Privilege,
) -> Result<()> {
    let known =
        environment.meta().user(user).and_then(|user| user.privilege(database)).unwrap_or(Granted::None);
    let left = match (known, revoked) {
        (_, Privilege::All) => Granted::None,
        (Granted::All, Privilege::Read) => Granted::Write,
        (Granted::All, Privilege::Write) => Granted::Read,
        (Granted::Read, Privilege::Read) | (Granted::Write, Privilege::Write) => Granted::None,
        (known, _) => known,
    };
    set_privilege(environment, user, database, left).await
}

/// The catalogue's word for the language's.
pub fn granted(privilege: Privilege) -> Granted {
    match privilege {
        Privilege::None => Granted::None,
        Privilege::Read => Granted::Read,
        Privilege::Write => Granted::Write,
        Privilege::All => Granted::All,
    }
}
