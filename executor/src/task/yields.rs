//! Letting other events run first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that lets other events run first; see [`yield_now`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct YieldNow(bool);

/// Returns a future that gives up the color once, so that other events run first.
///
/// The task goes on behind everything that was posted to its color before. Other colors may run
/// first, too.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let task = rt.handle().spawn(&rt.handle().new_color(), async {
///     for part in 0..10 {
///         println!("a long loop, part {part}");
///         dapple::yield_now().await;
///     }
/// });
/// rt.block_on(task).unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow(false)
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
