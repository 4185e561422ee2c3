//! Look-ups of host names, which the system does (getaddrinfo(3)).
//!
//! A look-up blocks for as long as a name server takes, so it runs on the blocking pool. Only a few
//! threads of the pool look up names at once, so a name server that does not answer leaves the
//! others to the rest of the program. Further look-ups wait in line.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use dapple::sync::{Arc, Mutex, lock};
use dapple::{Color, Cx, Site};

use super::Pending;

use crate::reactor::{Io, runtime_has_ended};

/// The maximum number of look-ups at once. A small pool allows fewer: half of its threads.
const MOST: usize = 4;

/// The look-ups that run, and those that wait in line.
#[derive(Default)]
pub(crate) struct Line(Arc<Mutex<LineState>>);

#[derive(Default)]
struct LineState {
    running: usize,
    waiting: VecDeque<Arc<Mutex<Waiting>>>,
}

/// The state of a look-up that waits in line.
enum Waiting {
    For(Option<Waker>),
    /// The look-up may begin, and has not noticed that yet.
    Called,
    Gone,
}

/// The right to look up a name, which passes to the next in line when this is dropped.
struct LookupSlot(Arc<Mutex<LineState>>);

impl Drop for LookupSlot {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        // The next look-up that is still in line gets the right.
        while let Some(next) = state.waiting.pop_front() {
            let mut waiting = lock(&next);
            if let Waiting::For(waker) = &mut *waiting {
                let waker = waker.take();
                *waiting = Waiting::Called;
                drop(waiting);
                drop(state);
                return waker.into_iter().for_each(Waker::wake);
            }
        }
        state.running -= 1;
    }
}

/// A look-up that waits for the right to begin.
struct InLine {
    line: Arc<Mutex<LineState>>,
    most: usize,
    /// The state in the line, once the look-up has had to wait.
    waiting: Option<Arc<Mutex<Waiting>>>,
}

impl Future for InLine {
    type Output = LookupSlot;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LookupSlot> {
        let waker = cx.waker().clone();
        let line = Arc::clone(&self.line);
        if let Some(waiting) = &self.waiting {
            let mut state = lock(waiting);
            if let Waiting::For(before) = &mut *state {
                let before = before.replace(waker);
                drop(state);
                drop(before);
                return Poll::Pending;
            }
            *state = Waiting::Gone;
            drop(state);
            return Poll::Ready(LookupSlot(line));
        }
        let mut state = lock(&line);
        if state.running < self.most {
            state.running += 1;
            drop(state);
            return Poll::Ready(LookupSlot(line));
        }
        let waiting = Arc::new(Mutex::new(Waiting::For(Some(waker))));
        state.waiting.push_back(Arc::clone(&waiting));
        drop(state);
        self.waiting = Some(waiting);
        Poll::Pending
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let left = std::mem::replace(&mut *lock(&waiting), Waiting::Gone);
        if let Waiting::Called = left {
            // The right passes to the next in line.
            drop(LookupSlot(Arc::clone(&self.line)));
        }
    }
}

impl Io {
    /// Returns the addresses of a host, in the order in which they should be tried.
    ///
    /// `host` is a name or an IP address as text. An IPv6 address may be in brackets. A name is
    /// looked up on a thread of the [blocking pool](dapple::Handle::offload). At most four threads
    /// look up names at once, and at most half of the pool, but at least one. If the returned
    /// future is dropped, a look-up that has begun goes on until the system answers.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `host` is empty, contains a zero byte, or has something other than
    /// an IPv6 address in brackets. Otherwise, returns the system's error if the name is unknown or
    /// cannot be looked up now, or an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let addresses = rt.block_on(io.lookup("localhost", 80))?;
    /// assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "getaddrinfo")]
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        // An IPv6 address, with a scope or without one, may be in brackets, as in a URL.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>()
            && (bare.is_none() || address.is_ipv6())
        {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let is_other = bare.is_some_and(|bare| !bare.contains(':'));
        if host.is_empty() || host.contains('\0') || is_other {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a host name"));
        }
        let line = Arc::clone(&self.driver().names.0);
        let most = (self.handle().offload_threads() / 2).clamp(1, MOST);
        let turn = InLine { line, most, waiting: None }.await;
        let host = bare.unwrap_or(host).to_owned();
        let work = self.handle().offload(move || {
            let _turn = turn;
            (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
        });
        work.await.map_err(|_| runtime_has_ended())?
    }

    /// Looks up a host, and posts `then` to a color with its addresses.
    ///
    /// The look-up and its errors are those of [`lookup`](Self::lookup). The returned handle can
    /// [cancel](Pending::cancel) the operation.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// io.lookup_then("127.0.0.1", 80, &rt.handle().new_color(), move |addresses, _| {
    ///     tx.send(addresses.unwrap()).unwrap();
    /// });
    /// assert_eq!(rx.recv().unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "evdns_getaddrinfo")]
    #[doc(alias = "uv_getaddrinfo")]
    #[doc(alias = "dns_hostbyname")]
    pub fn lookup_then<F>(&self, host: &str, port: u16, color: &Color, then: F) -> Pending
    where
        F: FnOnce(io::Result<Vec<SocketAddr>>, &mut Cx) + Send + 'static,
    {
        let (io, host, on) = (self.clone(), host.to_owned(), color.clone());
        let site = Site::caller();
        Pending(self.handle().spawn(color, async move {
            let found = io.lookup(&host, port).await;
            on.runtime().post_from(site, &on, move |cx| then(found, cx));
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    fn poll(place: &mut InLine) -> Option<LookupSlot> {
        let waker = Waker::from(Arc::new(Nobody));
        match Pin::new(place).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_leaves_the_line_loses_no_turn() {
        let line = Line::default();
        let place = || InLine { line: Arc::clone(&line.0), most: 1, waiting: None };
        let (mut first, mut second, mut third, mut fourth) = (place(), place(), place(), place());
        let turn = poll(&mut first).unwrap();
        assert!(poll(&mut second).is_none());
        assert!(poll(&mut third).is_none());
        assert!(poll(&mut fourth).is_none());
        // `second` leaves the line before it gets the right, and `third` after it got the right.
        drop(second);
        drop(turn);
        drop(third);
        let turn = poll(&mut fourth).expect("it is the last one who is left");
        let mut fifth = place();
        assert!(poll(&mut fifth).is_none());
        drop(turn);
        drop(poll(&mut fifth).unwrap());
        drop(fifth);
        assert_eq!(lock(&line.0).running, 0);
    }
}
