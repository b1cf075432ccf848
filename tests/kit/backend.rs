//! A server behind the proxy that does exactly what a test says, one script per connection.
//! Not a server of HTTP: what a script does not read or send does not happen.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;

use super::{Conn, Head, Identity, LIMIT, websocket};

/// How long a canned backend stays on an idle connection.
const PATIENCE: Duration = Duration::from_secs(600);

/// A scripted server on a port of its own. Its drop ends it, and fails the test if a script failed.
pub struct Backend {
    place: Place,
    scheme: &'static str,
    shared: Arc<Shared>,
    heads: Mutex<Receiver<Head>>,
    /// Connections for the test, of a backend by hand.
    taken: Option<Mutex<Receiver<Conn>>>,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    closed: bool,
    running: usize,
    failures: Vec<String>,
}

/// An accepted socket that becomes a connection, after its TLS handshake, on the thread of its script.
type Ready = Box<dyn FnOnce(String) -> io::Result<Conn> + Send>;

/// What a backend does with its connections: the connection, and which it is (from 0).
trait Script: Fn(&mut Conn, usize) + Send + Sync + 'static {}
impl<T: Fn(&mut Conn, usize) + Send + Sync + 'static> Script for T {}

impl Backend {
    /// Runs `script` on a thread of its own for each connection; the connection closes when it returns.
    pub fn scripted(script: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> Self {
        Self::on_tcp("http", "127.0.0.1:0", None, script)
    }

    /// The same on another loopback address, such as `[::1]:0`.
    pub fn scripted_at(address: &str, script: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> Self {
        Self::on_tcp("http", address, None, script)
    }

    /// The same behind TLS.
    pub fn scripted_tls(identity: &Identity, script: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> Self {
        Self::on_tcp("https", "127.0.0.1:0", Some(identity.server_config()), script)
    }

    /// The same on a unix socket.
    pub fn scripted_unix(path: &Path, script: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let accept = move || -> io::Result<Ready> {
            let (stream, _) = listener.accept()?;
            Ok(Box::new(|who| Ok(Conn::accepted_unix(stream, who))))
        };
        Self::serve("unix", Place::Unix(path.to_owned()), accept, script)
    }

    /// A valid 101 to each offer, then every byte comes back. A FIN comes back as a FIN.
    pub fn echo() -> Self {
        Self::scripted(|conn, _| {
            conn.set_limit(PATIENCE);
            websocket::echo(conn);
        })
    }

    /// This answer to each request, on connections that stay open.
    pub fn http(status: u16, body: &str) -> Self {
        let answer = http(status, body);
        Self::scripted(move |conn, _| {
            conn.set_limit(PATIENCE);
            while let Ok(head) = conn.try_read_head() {
                if conn.try_read_body(&head).is_err() || conn.try_send(&answer).is_err() {
                    return;
                }
            }
        })
    }

    /// These bytes to the first request of each connection, whatever it is; then a FIN, and the rest is
    /// read until the proxy closes.
    pub fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_owned();
        Self::scripted(move |conn, _| {
            if conn.try_read_head().is_ok() && conn.try_send(&answer).is_ok() {
                conn.fin();
                conn.wait_for_any_end();
            }
        })
    }

    /// Reads each request's head, then says nothing until the proxy closes.
    pub fn silent() -> Self {
        Self::scripted(|conn, _| {
            conn.try_read_head().ok();
            conn.wait_for_any_end();
        })
    }

    fn on_tcp(scheme: &'static str, address: &str, tls: Option<Arc<ServerConfig>>, script: impl Script) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("listening on {address}: {e}"));
        let place = Place::Tcp(listener.local_addr().unwrap());
        let accept = move || -> io::Result<Ready> {
            let ((stream, _), tls) = (listener.accept()?, tls.clone());
            Ok(Box::new(|who| Conn::accepted(stream, tls, who)))
        };
        Self::serve(scheme, place, accept, script)
    }

    fn serve(
        scheme: &'static str,
        place: Place,
        accept: impl Fn() -> io::Result<Ready> + Send + 'static,
        script: impl Script,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (sender, heads) = channel();
        let (counted, script) = (Arc::clone(&shared), Arc::new(script));
        thread::spawn(move || {
            loop {
                let ready = accept();
                if counted.state.lock().unwrap().closed {
                    return;
                }
                // Counted before any TLS handshake: the backend was touched.
                if let Ok(ready) = ready {
                    let n = counted.begin();
                    run(ready, n, Arc::clone(&counted), sender.clone(), Arc::clone(&script));
                }
            }
        });
        Self { place, scheme, shared, heads: Mutex::new(heads), taken: None }
    }

    /// Hands each connection to the test, which acts for the server: [`Backend::take`].
    pub fn by_hand() -> Self {
        let (script, taken) = hand_over();
        let mut backend = Self::scripted(script);
        backend.taken = Some(Mutex::new(taken));
        backend
    }

    /// The same behind TLS.
    pub fn by_hand_tls(identity: &Identity) -> Self {
        let (script, taken) = hand_over();
        let mut backend = Self::scripted_tls(identity, script);
        backend.taken = Some(Mutex::new(taken));
        backend
    }

    /// The next connection of a backend made [`Backend::by_hand`].
    #[track_caller]
    pub fn take(&self) -> Conn {
        let taken = self.taken.as_ref().expect("a backend by hand").lock().unwrap().recv_timeout(LIMIT);
        taken.unwrap_or_else(|_| panic!("no connection has reached the backend within {LIMIT:?}"))
    }

    /// As a config names it.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("{}://{address}", self.scheme),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The same with a name in place of the address: `localhost`, or what a certificate says.
    pub fn url_as(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// Waits for so many connections.
    #[track_caller]
    pub fn wait_for_connections(&self, count: usize) {
        let state = self.shared.state.lock().unwrap();
        let (state, waited) = self.shared.changed.wait_timeout_while(state, LIMIT, |state| state.connections < count).unwrap();
        let have = state.connections;
        drop(state); // a failure must not leave the lock poisoned for the drop
        assert!(!waited.timed_out(), "{have} connections to the backend, not {count}, within {LIMIT:?}");
    }

    /// Waits until no script is running: every connection was closed by one side or the other.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        let running = self.shared.wait_until_idle(LIMIT);
        assert_eq!(running, 0, "connections to the backend are still open after {LIMIT:?}");
    }

    /// The next head that one of its scripts has read, in the order of reading.
    #[track_caller]
    pub fn head(&self) -> Head {
        match self.heads.lock().unwrap().recv_timeout(LIMIT) {
            Ok(head) => head,
            Err(RecvTimeoutError::Timeout) => panic!("no head has reached the backend within {LIMIT:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the backend is closed"),
        }
    }

    /// The heads that its scripts have read and that were not asked for.
    pub fn heads_so_far(&self) -> Vec<Head> {
        self.heads.lock().unwrap().try_iter().collect()
    }

    /// Closes its port: later connections are refused, those that are there stay.
    pub fn close(&self) {
        if std::mem::replace(&mut self.shared.state.lock().unwrap().closed, true) {
            return;
        }
        // The thread that accepts looks once it wakes, and drops the listener.
        match &self.place {
            Place::Tcp(address) => drop(std::net::TcpStream::connect_timeout(address, LIMIT)),
            Place::Unix(path) => drop(std::os::unix::net::UnixStream::connect(path)),
        }
    }
}

/// A script that gives its connection away and leaves one that is nowhere in its place.
fn hand_over() -> (impl Script, Receiver<Conn>) {
    let (hand, taken) = channel();
    let script = move |conn: &mut Conn, n: usize| {
        let (nowhere, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let conn = std::mem::replace(conn, Conn::accepted_unix(nowhere, format!("given away {n}")));
        hand.send(conn).ok(); // the test may be over
    };
    (script, taken)
}

fn run(ready: Ready, n: usize, shared: Arc<Shared>, heads: Sender<Head>, script: Arc<impl Script>) {
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| {
            // A TLS handshake that fails is its client's to tell.
            if let Ok(mut conn) = ready(format!("backend connection {n}")) {
                conn.heads = Some(heads);
                script(&mut conn, n);
            }
        }));
        let mut state = shared.state.lock().unwrap();
        state.running -= 1;
        if let Err(panic) = result {
            state.failures.push(format!("connection {n}: {}", words(panic.as_ref())));
        }
        shared.changed.notify_all();
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned())).unwrap_or_default()
}

impl Shared {
    /// Counts a connection and its script; which connection it is, from 0.
    fn begin(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.connections += 1;
        state.running += 1;
        self.changed.notify_all();
        state.connections - 1
    }

    /// How many scripts are left after the time.
    fn wait_until_idle(&self, limit: Duration) -> usize {
        let state = self.state.lock().unwrap();
        self.changed.wait_timeout_while(state, limit, |state| state.running > 0).unwrap().0.running
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.close();
        if let Place::Unix(path) = &self.place {
            std::fs::remove_file(path).ok();
        }
        if thread::panicking() {
            for failure in &self.shared.state.lock().unwrap().failures {
                eprintln!("backend script, {failure}");
            }
            return;
        }
        let running = self.shared.wait_until_idle(LIMIT);
        let failures = std::mem::take(&mut self.shared.state.lock().unwrap().failures);
        assert!(failures.is_empty(), "a backend's script failed: {}", failures.join("\n"));
        assert_eq!(running, 0, "backend scripts still run at the end: were its proxy and clients made after it?");
    }
}

/// A port that refuses connections for as long as this lives: bound, and not listening.
pub struct RefusedPort(socket2::Socket);

impl RefusedPort {
    /// Takes one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self(socket)
    }

    /// As a config names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap().as_socket().unwrap())
    }
}

/// A port that nobody listens on, for the rare test that has to name one before the proxy takes it. Below
/// those that the kernel hands out by itself (ip(7)), so that no other test is given it in between.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).unwrap();
    let ports = std::iter::repeat_with(|| 20_000 + start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % 12_000);
    ports.take(12_000).find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}

/// An answer with a length.
pub fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
