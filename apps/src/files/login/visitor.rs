//! Who asks on one connection: the same one as before, mostly.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use super::{Login, Refused, User};

/// See the module. What was let in on this connection is let in again, as long as it says the same
/// and the file of users has not changed.
pub(in crate::files) struct Visitor {
    login: Arc<Login>,
    peer: IpAddr,
    last: Mutex<Option<LetIn>>,
}

struct LetIn {
    field: HeaderValue,
    user: Arc<User>,
    /// By which users: see [`Login::edition`].
    edition: u64,
}

impl Visitor {
    pub(in crate::files) fn new(login: &Arc<Login>, peer: IpAddr) -> Visitor {
        Visitor { login: Arc::clone(login), peer, last: Mutex::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<LetIn>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who it is.
    pub(in crate::files) async fn check(
        &self,
        field: Option<&HeaderValue>,
    ) -> Result<Arc<User>, Refused> {
        // Who says nothing is answered at once, and costs little.
        let field = field.ok_or(Refused::Unknown)?;
        self.login.look_again().await;
        // Before the check: if the users change meanwhile, it is made again next time.
        let edition = self.login.edition();
        if let Some(last) = &*self.last()
            && last.edition == edition
            && last.field == field
        {
            return Ok(Arc::clone(&last.user));
        }
        let user = self.login.check(field, self.peer).await?;
        let let_in = LetIn { field: field.clone(), user: Arc::clone(&user), edition };
        *self.last() = Some(let_in);
        Ok(user)
    }
}
