//! A TCP proxy on 127.0.0.1 in front of one address, whose mood changes while it runs: it passes,
//! cuts, hangs, delays or throttles, and counts what came through.
//!
//! Invariant: once [`Proxy::set`] returns, the mood holds for every connection, also for those that
//! were open before. It has a thread of its own, so it goes on while a test blocks. It knows nothing
//! of what it carries: answers of a kind are `scripted`'s.

mod carry;

use carry::Carried;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc as sync},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{mpsc, watch},
    task::JoinSet,
};

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Carries everything at once.
    Pass,
    /// Resets what is open and refuses what comes, as where nobody listens.
    Cut,
    /// Takes connections, keeps them open and carries nothing.
    Hang,
    /// Keeps each piece for so long.
    Delay(Duration),
    /// Carries so much a second, each way of each connection.
    Throttle { bytes_per_second: u64 },
}

/// A running proxy; it and its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    carried: Arc<Carried>,
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Order {
    mood: Mood,
    done: sync::Sender<io::Result<()>>,
}

impl Proxy {
    /// In front of `to`, on a free port.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn start(to: SocketAddr) -> anyhow::Result<Self> {
        Self::start_on(0, to)
    }

    /// In front of `to`, on a port of 127.0.0.1.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_on(port: u16, to: SocketAddr) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (seat, listener) = {
            let _inside = runtime.enter();
            let seat = Seat::take(port)?;
            let listener = seat.listen()?;
            (seat, listener)
        };
        let (addr, carried) = (seat.addr, Arc::new(Carried::default()));
        let (orders, received) = mpsc::unbounded_channel();
        let front =
            Front { seat, to, carried: carried.clone(), moods: watch::Sender::new(Mood::Pass) };
        let thread = std::thread::Builder::new()
            .name("test-proxy".into())
            .spawn(move || runtime.block_on(front.run(listener, received)))?;
        Ok(Self { addr, carried, orders: Some(orders), thread: Some(thread) })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For what speaks HTTP.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns when `mood` holds for all connections.
    ///
    /// # Panics
    /// When the port cannot be listened on any more: a test cannot go on without its proxy.
    #[allow(clippy::expect_used, reason = "a test without its proxy has failed")]
    pub fn set(&self, mood: Mood) {
        let (done, is_done) = sync::channel();
        let orders = self.orders.as_ref().expect("it runs until it is dropped");
        orders.send(Order { mood, done }).expect("the proxy's thread runs");
        is_done.recv().expect("the proxy's thread answers").expect("the proxy can listen");
    }

    /// What was carried so far.
    pub fn counts(&self) -> Counts {
        self.carried.counts()
    }
}

/// What a proxy has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that are open now, as their clients see it.
    pub open: usize,
    /// The most that were ever open at once.
    pub open_max: usize,
    /// All that were ever taken.
    pub taken: usize,
    /// Carried to the server, and back.
    pub bytes_up: u64,
    pub bytes_down: u64,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The thread ends with the channel.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A port that stays ours while nobody listens on it: a connection is then refused, and no other
/// program can take it.
#[derive(Debug)]
struct Seat {
    addr: SocketAddr,
    _held: TcpSocket,
}

impl Seat {
    fn take(port: u16) -> io::Result<Self> {
        let held = shared_socket()?;
        held.bind((Ipv4Addr::LOCALHOST, port).into())?;
        Ok(Self { addr: held.local_addr()?, _held: held })
    }

    fn listen(&self) -> io::Result<TcpListener> {
        let socket = shared_socket()?;
        socket.bind(self.addr)?;
        socket.listen(1_024)
    }
}

fn shared_socket() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    Ok(socket)
}

struct Front {
    seat: Seat,
    to: SocketAddr,
    carried: Arc<Carried>,
    moods: watch::Sender<Mood>,
}

impl Front {
    async fn run(self, listener: TcpListener, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // In this order: what comes after an order was given is in its mood.
                biased;
                order = orders.recv() => {
                    let Some(Order { mood, done }) = order else { break };
                    let outcome = self.turn(mood, &mut listener, &mut connections).await;
                    drop(done.send(outcome));
                }
                Some(_) = connections.join_next() => {}
                Ok((client, _)) = accept(listener.as_ref()) => {
                    let (client, carried) = (Arc::new(client), self.carried.clone());
                    carried.count(&client);
                    connections.spawn(carry::run(client, self.to, self.moods.subscribe(), carried));
                }
            }
        }
    }

    async fn turn(
        &self,
        mood: Mood,
        listener: &mut Option<TcpListener>,
        connections: &mut JoinSet<()>,
    ) -> io::Result<()> {
        match mood {
            Mood::Cut => *listener = None,
            _ if listener.is_none() => *listener = Some(self.seat.listen()?),
            _ => {}
        }
        self.moods.send_replace(mood);
        if mood == Mood::Cut {
            while connections.join_next().await.is_some() {}
        }
        Ok(())
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
