//! The proxy with a test on either side of it: a client and the server that agreed with it, both by hand.

use super::{Authority, Backend, Conn, Line, Offer, Proxy, answer_101};

/// What is spoken on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// To the proxy.
    pub client_tls: bool,
    /// From the proxy.
    pub backend_tls: bool,
}

/// `ws` to the proxy and to the backend.
pub const PLAIN: Over = Over { client_tls: false, backend_tls: false };
/// `wss` to the proxy.
pub const WSS: Over = Over { client_tls: true, backend_tls: false };
/// `wss` to the backend.
pub const WSS_BACKEND: Over = Over { client_tls: false, backend_tls: true };
/// `wss` to both.
pub const BOTH_WSS: Over = Over { client_tls: true, backend_tls: true };

/// A proxy with a test on either side of it. Dropped in this order.
pub struct Around {
    /// In the middle.
    pub proxy: Proxy,
    /// By hand.
    pub backend: Backend,
    /// It signed what both sides show.
    pub authority: Authority,
    /// What is spoken.
    pub over: Over,
}

impl Around {
    /// With this text before the tables of the config: `timeouts.linger = ...`, `threads = 1`.
    pub fn new(over: Over, head: &str) -> Self {
        let authority = Authority::new();
        let identity = authority.identity(&["localhost", "127.0.0.1"]);
        let backend = if over.backend_tls { Backend::by_hand_tls(&identity) } else { Backend::by_hand() };
        let text = "
            {head}
            [[listen]]
            address = \"127.0.0.1:0\"
            [[listen]]
            address = \"127.0.0.1:0\"
            [[listen.certificate]]
            chain = \"cert.pem\"
            key = \"cert.key\"
            [backend.peer]
            servers = [\"{backend}\"]
            {ca}
            [[route]]
            backend = \"peer\"";
        let ca = if over.backend_tls { "ca = \"ca.pem\"" } else { "" };
        let setup = Proxy::setup(text).put("head", head).put("backend", backend.url()).put("ca", ca);
        let setup = setup.file("cert.pem", &identity.chain_pem).file("cert.key", &identity.key_pem);
        let proxy = setup.file("ca.pem", authority.pem()).start();
        Self { proxy, backend, authority, over }
    }

    /// A client that has sent nothing yet.
    pub fn connect(&self) -> Conn {
        if self.over.client_tls {
            Conn::connect_tls(self.proxy.address(1), "localhost", self.authority.client(&["http/1.1"]))
        } else {
            self.proxy.connect()
        }
    }

    /// A client and the server that agreed with it.
    pub fn open(&self) -> (Conn, Conn) {
        let mut client = self.connect();
        client.send(Offer::new().bytes());
        let mut server = self.backend.take();
        let offer = server.read_head();
        server.send(answer_101(&offer));
        assert_eq!(client.read_head().status(), 101);
        (client, server)
    }

    /// The first record of a tunnel's end.
    #[track_caller]
    pub fn closed(&self) -> Line {
        self.proxy.wait_for_message("tunnel closed", 0)
    }

    /// Asserts who ended the tunnel and how.
    #[track_caller]
    pub fn assert_ended(&self, by: &str, how: &str) -> Line {
        let line = self.closed();
        assert_eq!((line.text("ended_by").as_str(), line.text("how").as_str()), (by, how), "{}", line.raw);
        line
    }
}
