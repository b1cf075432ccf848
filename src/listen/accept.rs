//! The listener and its accept loop, which no error ends. What is done with a connection is not known here.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::bind::Sharing;
use super::unix::SocketFile;
use super::{Address, BindError, Settings, bind, unix};
use crate::net::{Peer, Socket};

/// The wait after the first failed accept, and the most it grows to. When files run out, one is free again
/// as soon as any connection ends, so a second is long enough to be cheap and short enough to go unseen.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The time between two log lines about failing accepts.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The right to one connection of those a listener may have; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    _held: Option<OwnedSemaphorePermit>,
}

/// A connection that was just taken.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, its options set.
    pub socket: Socket,
    /// Who is at the other end.
    pub peer: Peer,
    /// To be kept for as long as the connection lives.
    pub permit: Permit,
}

#[derive(Debug)]
enum Waiting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket that waits for clients. Dropping it closes the socket and removes the file of a unix socket.
#[derive(Debug)]
pub struct Listener {
    waiting: Waiting,
    /// Removes the file of a unix socket when the listener goes.
    _file: Option<SocketFile>,
    address: Address,
    permits: Option<Arc<Semaphore>>,
    complaint: Mutex<Complaint>,
}

impl Listener {
    /// Opens a listener. To be called inside a runtime.
    pub fn bind(settings: &Settings) -> Result<Self, BindError> {
        Self::bind_as(settings, Sharing::Alone)
    }

    /// Opens as many listeners on one address as there are runtimes, one in each: the kernel spreads the clients
    /// (`SO_REUSEPORT`). A unix socket has one listener, in the first, and so has an address with `max_connections`:
    /// whoever waits does so in one queue.
    pub fn bind_in(settings: &Settings, runtimes: &[Handle]) -> Result<Vec<Self>, BindError> {
        let mut listeners: Vec<Self> = Vec::new();
        for runtime in runtimes {
            let _inside = runtime.enter();
            let listener = match listeners.first() {
                None if runtimes.len() == 1 || settings.max_connections.is_some() => {
                    listeners.push(Self::bind(settings)?);
                    break;
                }
                None => Self::bind_as(settings, Sharing::First)?,
                Some(Self { waiting: Waiting::Unix(_), .. }) => break,
                Some(first) => {
                    let settings = Settings { address: first.address.clone(), ..settings.clone() };
                    Self::bind_as(&settings, Sharing::Further)?
                }
            };
            listeners.push(listener);
        }
        Ok(listeners)
    }

    fn bind_as(settings: &Settings, sharing: Sharing) -> Result<Self, BindError> {
        let (waiting, address, file) = match &settings.address {
            Address::Ip(wanted) => {
                let tcp = bind::tcp(*wanted, settings.ipv6_only, sharing)?;
                let real = tcp.local_addr().map_err(|e| BindError::of_ip(*wanted, "reading its own address", e))?;
                (Waiting::Tcp(tcp), Address::Ip(real), None)
            }
            Address::Unix(path) => {
                let (listener, file) = unix::listen(path, settings.unix_mode)?;
                (Waiting::Unix(listener), settings.address.clone(), Some(file))
            }
        };
        let permits = settings.max_connections.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        Ok(Self { waiting, _file: file, address, permits, complaint: Mutex::default() })
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    pub fn local_address(&self) -> &Address {
        &self.address
    }

    /// The next connection. Waits while as many are alive as `max_connections` allows, with the further
    /// clients in the kernel's queue, and waits out every error. Cancel safe: no connection is lost.
    pub async fn accept(&self) -> Accepted {
        let permit = self.permit().await;
        let mut wait = BACK_OFF.0;
        loop {
            match self.accept_one().await {
                Ok((socket, peer)) => return Accepted { socket, peer, permit },
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.complain(&error, wait);
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(BACK_OFF.1);
                }
            }
        }
    }

    async fn permit(&self) -> Permit {
        match &self.permits {
            // `acquire_owned` fails only on a closed semaphore, and nobody closes this one.
            Some(permits) => Permit { _held: permits.clone().acquire_owned().await.ok() },
            None => Permit { _held: None },
        }
    }

    async fn accept_one(&self) -> io::Result<(Socket, Peer)> {
        match &self.waiting {
            Waiting::Tcp(tcp) => tcp.accept().await.map(|(socket, peer)| (Socket::from(socket), Peer::ip(peer))),
            Waiting::Unix(unix) => unix.accept().await.map(|(socket, _)| (Socket::from(socket), Peer::Unix)),
        }
    }

    fn complain(&self, error: &io::Error, wait: Duration) {
        let due = self.complaint.lock().map_or(Some(1), |mut complaint| complaint.due(Instant::now()));
        if let Some(times) = due {
            let remedy = match error.raw_os_error() {
                Some(libc::EMFILE) => "the process has as many open files as it may; raise its limit (LimitNOFILE, ulimit -n)",
                Some(libc::ENFILE) => "the machine has as many open files as it may; raise fs.file-max",
                _ => "clients wait in the kernel's queue meanwhile",
            };
            tracing::warn!(listen = %self.address, %error, times, retry_in = ?wait, "cannot accept connections: {remedy}");
        }
    }
}

/// Whether the error is that of the one connection that would have come out of the queue, which is gone
/// with it: the next may be whole. accept(2) lists these for Linux, which passes errors of the network
/// on through accept. All others (no more files, no memory) would come again at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EAGAIN
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT
        )
    )
}

/// Failing accepts that nobody was told of yet.
#[derive(Debug, Default)]
struct Complaint {
    said: Option<Instant>,
    untold: u64,
}

impl Complaint {
    /// Counts one more; how many there are to tell of, when it is time to tell.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < LOG_EVERY) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_fault_is_told_at_once_and_then_once_in_a_while_with_its_count() {
        let mut complaint = Complaint::default();
        let start = Instant::now();
        assert_eq!(complaint.due(start), Some(1));
        assert_eq!(complaint.due(start + LOG_EVERY / 2), None);
        assert_eq!(complaint.due(start + LOG_EVERY - Duration::from_millis(1)), None);
        assert_eq!(complaint.due(start + LOG_EVERY), Some(3));
        assert_eq!(complaint.due(start + LOG_EVERY), None);
    }

    #[test]
    fn running_out_of_files_or_memory_is_not_the_fault_of_one_connection() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EINVAL] {
            assert!(!is_of_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for code in [libc::ECONNABORTED, libc::EPROTO, libc::EHOSTUNREACH] {
            assert!(is_of_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
