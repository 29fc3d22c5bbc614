//! The place of a message that is on its way.
//!
//! Invariant: a call holds no bytes of the limit before the head of its message came, and then as
//! many as the message can need; the buffers behind them are made after that. What it is not: a
//! check of the message, which tonic makes.

use crate::{accept::Sender, capacity::Place, pipeline::Gateway, problem::Problem};
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// Shared by the body and who waits for the message.
#[derive(Clone)]
pub struct Arriving(Arc<Mutex<State>>);

struct State {
    head: Vec<u8>,
    place: Option<Place>,
    problem: Option<Problem>,
}

impl Arriving {
    pub fn new(place: Place) -> Self {
        let head = Vec::with_capacity(HEAD_BYTES);
        Self(Arc::new(Mutex::new(State { head, place: Some(place), problem: None })))
    }

    /// The same body; it breaks off where there is no place for what it announces.
    pub fn watch(&self, gateway: Arc<Gateway>, sender: Sender, body: Body) -> Body {
        let arriving = self.clone();
        Body::from_stream(body.into_data_stream().map(move |chunk| {
            let chunk: Bytes = chunk.map_err(io::Error::other)?;
            let mut state = arriving.state();
            match state.see(&gateway, &sender, &chunk) {
                Ok(()) => Ok(chunk),
                Err(problem) => {
                    state.problem = Some(problem);
                    Err(io::Error::other("there is no place for it"))
                }
            }
        }))
    }

    /// Why the body broke off, if it was for the want of a place.
    pub fn problem(&self) -> Option<Problem> {
        self.state().problem.take()
    }

    /// The place, when the message came.
    pub fn take_place(&self) -> Option<Place> {
        self.state().place.take()
    }

    /// A holder that panicked left its own call alone behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self, gateway: &Gateway, sender: &Sender, chunk: &[u8]) -> Result<(), Problem> {
        if self.head.len() == HEAD_BYTES {
            return Ok(());
        }
        self.head.extend(chunk.iter().take(HEAD_BYTES - self.head.len()));
        let Some([compressed, length @ ..]) = self.head.first_chunk::<HEAD_BYTES>() else {
            return Ok(());
        };
        // A longer one is refused by its head.
        let most = gateway.body_bytes_max.max(gateway.decompressed_bytes_max);
        let message = most.min(u32::from_be_bytes(*length) as usize);
        // Beside a compressed message stands what it is decompressed into.
        let beside = if *compressed == 0 { 0 } else { gateway.decompressed_bytes_max };
        match &mut self.place {
            Some(place) => gateway.grow(place, sender, message + beside),
            None => Ok(()),
        }
    }
}
