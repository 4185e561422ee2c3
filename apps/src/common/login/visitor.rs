//! Who asks on one connection: the same one as before, mostly.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use super::{Login, Refused, User};

/// See the module. Who was let in on this connection is let in again, as long as it says the same
/// and the file of users has not changed.
pub(crate) struct Visitor {
    login: Arc<Login>,
    peer: IpAddr,
    last: Mutex<Option<LetIn>>,
}

struct LetIn {
    /// A copy: the field itself is a part of all that was received with it.
    field: Box<[u8]>,
    user: Arc<User>,
    /// The edition of the users that said so: see [`Login::edition`].
    edition: u64,
}

impl Visitor {
    pub(crate) fn new(login: &Arc<Login>, peer: IpAddr) -> Visitor {
        Visitor { login: Arc::clone(login), peer, last: Mutex::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<LetIn>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether who says this was let in before. If not, or the users have to be looked at
    /// again, that has to be [checked](Self::check).
    pub(crate) fn is_known(&self, field: &[u8]) -> bool {
        let edition = self.login.edition();
        let is_last = |last: &LetIn| last.edition == edition && is_same(&last.field, field);
        self.login.looked_lately() && self.last().as_ref().is_some_and(is_last)
    }

    /// Says who it is.
    pub(crate) async fn check(&self, field: Option<&HeaderValue>) -> Result<Arc<User>, Refused> {
        // Who says nothing is answered at once, and costs little.
        let field = field.ok_or(Refused::Unknown)?;
        self.login.look_again().await;
        // Before the check: if the users change meanwhile, it is made again next time.
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

/// Compares what is secret, in a time that does not tell how much of it is the same.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differ = |all, (a, b): (&u8, &u8)| all | (a ^ b);
    one.len() == other.len() && one.iter().zip(other).fold(0, differ) == 0
}
