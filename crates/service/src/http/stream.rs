//! One stream of HTTP/2: how long its answer may wait for a client that does not take it.
//!
//! hyper runs each stream as a task and does not ask for more of an answer until the client has
//! room for what it got, so nothing inside an answer can notice. The task is therefore watched
//! from outside. Invariant: a stream whose client takes nothing for the write time-out is reset,
//! and whatever its answer held is free. With HTTP/1 an answer that was handed over counts as no
//! open request, and the connection's idle time-out ends it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    /// That of the stream whose task this is.
    static HANDED_OVER: HandedOver;
}

/// Since when a part of an answer was handed over and the next one not asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct HandedOver(Arc<Mutex<Option<Instant>>>);

impl HandedOver {
    /// Of the stream whose task this is; of none with HTTP/1.
    pub fn here() -> Option<Self> {
        HANDED_OVER.try_with(Clone::clone).ok()
    }

    /// A part was handed over.
    pub fn part(&self) {
        self.set(Some(Instant::now()));
    }

    /// The client has room for the next part, or there is none.
    pub fn taken(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs streams as tasks that end at the write time-out.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub write_timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let handed_over = HandedOver::default();
        let watched = Watched {
            stream: Box::pin(HANDED_OVER.scope(handed_over.clone(), stream)),
            handed_over,
            timer: None,
            write_timeout: self.write_timeout,
        };
        tokio::spawn(watched);
    }
}

struct Watched<F: Future> {
    stream: Pin<Box<tokio::task::futures::TaskLocalFuture<HandedOver, F>>>,
    handed_over: HandedOver,
    /// There from the first part on that was not taken at once.
    timer: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = this.handed_over.since() else { return Poll::Pending };
        let until = since + this.write_timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(cx));
        tracing::debug!(write_timeout = ?this.write_timeout, "a client takes no answer: reset");
        Poll::Ready(())
    }
}
