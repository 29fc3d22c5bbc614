//! One connection through the proxy, and the counts of all.

use super::{Counts, Mood};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch, time::sleep};

const PIECE_BYTES: usize = 64 << 10;
/// A throttled connection carries about so many pieces a second.
const PIECES_PER_SECOND: u64 = 50;
/// How often a connection that hangs is asked whether its client is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(super) struct Carried {
    clients: Mutex<Vec<Weak<TcpStream>>>,
    open_max: AtomicUsize,
    taken: AtomicUsize,
    up: AtomicU64,
    down: AtomicU64,
}

impl Carried {
    /// Counts a connection for as long as it is held, or until its client closes it. Those are asked
    /// here, so that one that was closed before the next was opened is never counted with it.
    pub(super) fn count(&self, client: &Arc<TcpStream>) {
        self.taken.fetch_add(1, Relaxed);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.push(Arc::downgrade(client));
        self.open_max.fetch_max(open(&mut clients), Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            open: open(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner)),
            open_max: self.open_max.load(Relaxed),
            taken: self.taken.load(Relaxed),
            bytes_up: self.up.load(Relaxed),
            bytes_down: self.down.load(Relaxed),
        }
    }
}

fn open(clients: &mut Vec<Weak<TcpStream>>) -> usize {
    clients.retain(|client| client.upgrade().is_some_and(|client| !has_left(&client)));
    clients.len()
}

/// Carries one connection to its end; an error on either side, or a cut, resets the other.
pub(super) async fn run(
    client: Arc<TcpStream>,
    to: SocketAddr,
    mut moods: watch::Receiver<Mood>,
    carried: Arc<Carried>,
) {
    let mut watched = moods.clone();
    let outcome = tokio::select! {
        _ = watched.wait_for(|mood| *mood == Mood::Cut) => Err(io::ErrorKind::ConnectionReset.into()),
        () = left_while_hanging(&client, moods.clone()) => Ok(()),
        outcome = both_ways(&client, to, &mut moods, &carried) => outcome,
    };
    if outcome.is_err() {
        reset(&client);
    }
}

/// What is closed next is closed by a RST.
fn reset(stream: &TcpStream) {
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

async fn both_ways(
    client: &TcpStream,
    to: SocketAddr,
    moods: &mut watch::Receiver<Mood>,
    carried: &Carried,
) -> io::Result<()> {
    // A server behind a link that hangs does not hear of the connection either.
    still_carrying(moods).await?;
    let server = TcpStream::connect(to).await?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    let up = one_way(client, &server, moods.clone(), &carried.up);
    let down = one_way(&server, client, moods.clone(), &carried.down);
    let outcome = tokio::try_join!(up, down);
    if outcome.is_err() {
        reset(&server);
    }
    outcome.map(drop)
}

async fn one_way(
    from: &TcpStream,
    to: &TcpStream,
    mut moods: watch::Receiver<Mood>,
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        still_carrying(&mut moods).await?;
        from.readable().await?;
        let most = piece_bytes(*moods.borrow());
        let got = match from.try_read(&mut piece[..most]) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        keep(got, &mut moods).await?;
        write_all(to, &piece[..got], &mut moods).await?;
        carried.fetch_add(got as u64, Relaxed);
    }
    still_carrying(&mut moods).await?;
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // The other side was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        outcome => outcome,
    }
}

fn piece_bytes(mood: Mood) -> usize {
    match mood {
        Mood::Throttle { bytes_per_second } => {
            let bytes = (bytes_per_second / PIECES_PER_SECOND).max(1);
            usize::try_from(bytes).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)
        }
        _ => PIECE_BYTES,
    }
}

/// Resolves when nothing hangs.
async fn still_carrying(moods: &mut watch::Receiver<Mood>) -> io::Result<()> {
    moods.wait_for(|mood| *mood != Mood::Hang).await.map(drop).map_err(io::Error::other)
}

/// Keeps a piece for as long as the mood wants; a new mood is asked anew.
async fn keep(bytes: usize, moods: &mut watch::Receiver<Mood>) -> io::Result<()> {
    loop {
        let mood = *moods.borrow_and_update();
        let kept_for = match mood {
            Mood::Pass | Mood::Cut => return Ok(()),
            Mood::Hang => Duration::MAX,
            Mood::Delay(delay) => delay,
            Mood::Throttle { bytes_per_second } => {
                Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64)
            }
        };
        tokio::select! {
            () = sleep(kept_for) => return Ok(()),
            changed = moods.changed() => changed.map_err(io::Error::other)?,
        }
    }
}

async fn write_all(
    to: &TcpStream,
    mut piece: &[u8],
    moods: &mut watch::Receiver<Mood>,
) -> io::Result<()> {
    while !piece.is_empty() {
        still_carrying(moods).await?;
        to.writable().await?;
        match to.try_write(piece) {
            Ok(written) => piece = &piece[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Resolves when a client gives up a connection that hangs. It is looked for and not read for: what
/// it has sent stays where it is, as with a server that does not read.
async fn left_while_hanging(client: &TcpStream, mut moods: watch::Receiver<Mood>) {
    loop {
        if moods.wait_for(|mood| *mood == Mood::Hang).await.is_err() || has_left(client) {
            return;
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn has_left(client: &TcpStream) -> bool {
    let mut asked = [PollFd::new(client, PollFlags::RDHUP)];
    let answer = poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    answer.is_ok_and(|ready| ready > 0)
}
