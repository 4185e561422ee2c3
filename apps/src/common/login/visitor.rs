//! The login state of one connection, whose requests usually come from one user.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use super::{Login, Refused, User};

/// The client of a connection. A user who was let in is let in again as long as the client sends
/// the same field and the file of users has not changed.
pub(crate) struct Visitor {
    login: Arc<Login>,
    peer: IpAddr,
    last: Mutex<Option<LetIn>>,
}

/// The last login on a connection.
struct LetIn {
    /// A copy, because the field itself would keep alive the whole buffer in which it was received.
    field: Box<[u8]>,
    user: Arc<User>,
    /// The edition of the users at the time of the login: see [`Login::edition`].
    edition: u64,
}

impl Visitor {
    pub(crate) fn new(login: &Arc<Login>, peer: IpAddr) -> Visitor {
        Visitor { login: Arc::clone(login), peer, last: Mutex::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<LetIn>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if the sender of this field was let in before, and the users need not be
    /// checked for changes. Otherwise the caller has to [check](Self::check) the field.
    pub(crate) fn is_known(&self, field: &[u8]) -> bool {
        let edition = self.login.edition();
        let is_last = |last: &LetIn| last.edition == edition && is_same(&last.field, field);
        self.login.looked_lately() && self.last().as_ref().is_some_and(is_last)
    }

    /// Returns the user that a field names.
    ///
    /// # Errors
    ///
    /// Returns the reason why the client is not let in.
    pub(crate) async fn check(&self, field: Option<&HeaderValue>) -> Result<Arc<User>, Refused> {
        // A client that sends no field is refused at once, at little cost.
        let field = field.ok_or(Refused::Unknown)?;
        self.login.look_again().await;
        // The edition is read before the check: if the users change in the meantime, the next
        // request is checked again.
        let edition = self.login.edition();
        if let Some(last) = &*self.last()
            && last.edition == edition
            && is_same(&last.field, field.as_bytes())
        {
            return Ok(Arc::clone(&last.user));
        }
        let user = self.login.check(field, self.peer).await?;
        let field = field.as_bytes().into();
        let let_in = LetIn { field, user: Arc::clone(&user), edition };
        *self.last() = Some(let_in);
        Ok(user)
    }
}

/// Compares secrets in a time that does not depend on where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differ = |all, (a, b): (&u8, &u8)| all | (a ^ b);
    one.len() == other.len() && one.iter().zip(other).fold(0, differ) == 0
}
