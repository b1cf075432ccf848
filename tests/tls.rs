//! TLS at our door: versions, ALPN, which certificate for which name, resumption, bad clients, bad files.
//! TLS toward backends, and certificates that are swapped while running, are elsewhere.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&` before every value

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion, RootCertStore, SignatureScheme,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A TLS listener (0) and a plain one (1) before a backend.
fn before(backend: &Backend, head: &str, identity: &Identity) -> Proxy {
    let text = "
        {head}
        [[listen]]
        address = \"127.0.0.1:0\"
        [[listen.certificate]]
        chain = \"site.pem\"
        key = \"site.key\"
        [[listen]]
        address = \"127.0.0.1:0\"
        [[route]]
        backend = \"{backend}\"";
    let setup = Proxy::setup(text).put("head", head).put("backend", backend.url());
    setup.file("site.pem", &identity.chain_pem).file("site.key", &identity.key_pem).start()
}

/// The usual: a site, someone who vouches for it, and something behind it.
struct Site {
    proxy: Proxy,
    authority: Authority,
    _backend: Backend,
}

fn site(head: &str) -> Site {
    let authority = Authority::new();
    let backend = Backend::http(200, "inside");
    let proxy = before(&backend, head, &authority.identity(&["localhost"]));
    Site { proxy, authority, _backend: backend }
}

impl Site {
    #[track_caller]
    fn connect(&self, config: Arc<ClientConfig>) -> Conn {
        Conn::connect_tls(self.proxy.address(0), "localhost", config)
    }

    /// Asserts that an ordinary client is served.
    #[track_caller]
    fn serves(&self) {
        get(&mut self.connect(self.authority.client(&["http/1.1"])));
    }

    /// The line about a handshake that failed.
    #[track_caller]
    fn failed_handshake(&self) -> Line {
        self.proxy.wait_for_log(|line| line.message().starts_with("TLS handshake failed"), LIMIT)
    }
}

#[track_caller]
fn get(client: &mut Conn) {
    client.send(GET);
    let (head, body) = client.read_answer();
    assert_eq!((head.status(), body.text().as_str()), (200, "inside"), "{head}");
}

// --- versions, protocols, resumption ---------------------------------------------------------------------

#[test]
fn tls_1_3_is_spoken_with_those_who_can() {
    let site = site("");
    let mut client = site.connect(site.authority.client(&[]));
    assert_eq!(client.tls(|tls| tls.protocol_version()), Some(ProtocolVersion::TLSv1_3));
    get(&mut client);
}

#[test]
fn tls_1_2_is_spoken_with_those_who_cannot_do_better() {
    let site = site("");
    let mut client = site.connect(site.authority.client_tls12(&[]));
    assert_eq!(client.tls(|tls| tls.protocol_version()), Some(ProtocolVersion::TLSv1_2));
    get(&mut client);
}

rows! { alpn_chooses {
    alpn_chooses_h2_before_http_1_1: &["http/1.1", "h2"], Some("h2");
    alpn_chooses_http_1_1_where_it_is_alone: &["http/1.1"], Some("http/1.1");
    alpn_chooses_http_1_1_among_strangers: &["spdy/3", "http/1.1"], Some("http/1.1");
    alpn_chooses_nothing_for_those_who_offer_nothing: &[], None;
}}

fn alpn_chooses(offered: &[&str], expected: Option<&str>) {
    let site = site("");
    for config in [site.authority.client(offered), site.authority.client_tls12(offered)] {
        let mut client = site.connect(config);
        let chosen = client.tls(|tls| tls.alpn_protocol().map(<[u8]>::to_vec));
        assert_eq!(chosen.as_deref(), expected.map(str::as_bytes));
        if expected != Some("h2") {
            get(&mut client);
        }
    }
}

#[test]
fn alpn_without_any_of_ours_is_refused_by_its_alert_and_logged() {
    let site = site("");
    let error = Conn::try_connect_tls(site.proxy.address(0), "localhost", site.authority.client(&["spdy/3"])).err().unwrap();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert!(site.failed_handshake().says("neither h2 nor http/1.1"));
    site.serves();
}

#[test]
fn h2_over_tls_is_forwarded() {
    let authority = Authority::new();
    let backend = Backend::http(200, "inside");
    let proxy = before(&backend, "", &authority.identity(&["localhost"]));
    let client = H2::connect_tls(proxy.address(0), "localhost", authority.client(&["h2"]));
    for n in 0..3 {
        let answer = client.get(&format!("https://localhost/page/{n}"));
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"inside".as_slice()));
        let seen = backend.head();
        assert_eq!(seen.first, format!("GET /page/{n} HTTP/1.1"));
        seen.assert_line("X-Forwarded-Proto: https");
    }
}

rows! { a_second_handshake_is_resumed {
    a_second_handshake_is_resumed_1_3: false;
    a_second_handshake_is_resumed_1_2: true;
}}

fn a_second_handshake_is_resumed(old: bool) {
    let site = site("");
    let config = if old { site.authority.client_tls12(&["http/1.1"]) } else { site.authority.client(&["http/1.1"]) };
    let mut first = site.connect(config.clone());
    get(&mut first); // a ticket of 1.3 comes behind the handshake
    assert_ne!(first.tls(|tls| tls.handshake_kind()), Some(HandshakeKind::Resumed));
    for _ in 0..3 {
        let mut next = site.connect(config.clone());
        assert_eq!(next.tls(|tls| tls.handshake_kind()), Some(HandshakeKind::Resumed));
        get(&mut next);
    }
}

rows! { a_websocket_over_tls {
    a_websocket_over_tls_1_3: false, &["http/1.1"];
    a_websocket_over_tls_1_2: true, &["http/1.1"];
    a_websocket_over_tls_without_alpn: false, &[];
}}

fn a_websocket_over_tls(old: bool, alpn: &[&str]) {
    let authority = Authority::new();
    let backend = Backend::echo();
    let proxy = before(&backend, "", &authority.identity(&["localhost"]));
    let config = if old { authority.client_tls12(alpn) } else { authority.client(alpn) };
    let mut client = Conn::connect_tls(proxy.address(0), "localhost", config);
    client.send(Offer::new().bytes());
    let answer = client.read_head();
    assert_eq!(answer.status(), 101);
    answer.assert_line(&format!("Sec-WebSocket-Accept: {}", accept_for(KEY)));
    backend.head().assert_line("X-Forwarded-Proto: https");
    let bytes = pattern(300_000);
    let (reader, mut writer) = client.split();
    let mut reader = reader;
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&bytes));
        reader.expect(&bytes);
    });
    writer.fin();
    reader.expect_fin(); // with close_notify
}

#[test]
fn the_end_of_a_connection_is_told_by_close_notify() {
    let site = site("");
    let mut client = site.connect(site.authority.client(&[]));
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(client.read_answer().0.status(), 200);
    client.expect_fin();
}

// --- which certificate -----------------------------------------------------------------------------------

/// A client's verifier that takes anything: what was shown is looked at afterwards.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn trusting_anything() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anything(provider))).with_no_client_auth())
}

/// Four certificates on one listener; `name` gets the one that was made for `of`.
fn sni(name: &str, of: usize) {
    let names: [&[&str]; 4] = [
        &["default.example"],
        &["exact.example.com", "second.example.com"],
        &["*.example.com"],
        &["*.deep.example.com", "deep.example.org"],
    ];
    let authority = Authority::new();
    let identities = names.map(|names| authority.identity(names));
    let backend = Backend::http(200, "inside");
    let route = "[[route]]\nbackend = \"{backend}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n";
    let certificate = |n: usize| format!("[[listen.certificate]]\nchain = \"{n}.pem\"\nkey = \"{n}.key\"\n");
    let text = route.to_owned() + &(0..identities.len()).map(certificate).collect::<String>();
    let mut setup = Proxy::setup(&text).put("backend", backend.url());
    for (n, identity) in identities.iter().enumerate() {
        setup = setup.file(&format!("{n}.pem"), &identity.chain_pem).file(&format!("{n}.key"), &identity.key_pem);
    }
    let proxy = setup.start();
    let mut client = Conn::connect_tls(proxy.address(0), name, trusting_anything());
    let shown = client.tls(|tls| tls.peer_certificates().unwrap()[0].clone().into_owned());
    let which = identities.iter().position(|identity| *identity.certificate() == shown);
    assert_eq!(which, Some(of), "the certificate for {name}");
    get(&mut client);
}

rows! { sni {
    sni_by_its_exact_name: "exact.example.com", 1;
    sni_by_another_of_its_names: "second.example.com", 1;
    sni_in_any_case: "EXACT.Example.COM", 1;
    sni_by_a_wildcard: "chat.example.com", 2;
    sni_by_the_nearest_wildcard: "a.deep.example.com", 3;
    sni_a_wildcard_is_one_label_and_no_more: "a.b.example.com", 0;
    sni_a_wildcard_is_one_label_and_no_less: "example.com", 0;
    sni_a_name_beside_a_wildcard: "deep.example.org", 3;
    sni_by_the_wildcard_above_a_wildcard: "deep.example.com", 2;
    sni_of_nobody_gets_the_first: "nobody.example.net", 0;
    sni_of_the_first_itself: "default.example", 0;
    sni_none_gets_the_first: "127.0.0.1", 0; // RFC 6066, 3: an address is never sent
}}

// --- bad clients -----------------------------------------------------------------------------------------

/// What a TLS client says first.
fn client_hello() -> Vec<u8> {
    let mut state = ClientConnection::new(trusting_anything(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut bytes = Vec::new();
    state.write_tls(&mut bytes).unwrap();
    bytes
}

/// An alert record: its type, a version, two bytes (RFC 8446, 5.1 and 6).
#[track_caller]
fn assert_alert(bytes: &[u8]) {
    assert!(matches!(bytes, [21, 3, _, 0, 2, 2, _]), "no fatal alert: {}", shown(bytes));
}

rows! { garbage_on_the_tls_port_is_refused {
    garbage_on_the_tls_port_is_refused_zeros: vec![0; 100], true;
    garbage_on_the_tls_port_is_refused_noise: [vec![0x99], pattern(5000)].concat(), true;
    garbage_on_the_tls_port_is_refused_a_record_of_noise: [vec![22, 3, 1, 0x10, 0], pattern(0x1000)].concat(), false; // rustls has no alert for it
    garbage_on_the_tls_port_is_refused_an_endless_record: [vec![22, 3, 1, 0xff, 0xff], pattern(0xffff)].concat(), true;
    garbage_on_the_tls_port_is_refused_ssl_2: [vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10], pattern(100)].concat(), true;
    garbage_on_the_tls_port_is_refused_data_first: [vec![23, 3, 3, 0, 100], pattern(100)].concat(), true;
    garbage_on_the_tls_port_is_refused_a_spoilt_hello: spoilt_hello(), true;
}}

/// A `ClientHello` whose inside is not what its lengths say.
fn spoilt_hello() -> Vec<u8> {
    let mut hello = client_hello();
    hello[43] = 0xff; // the length of its session id, at most 32 (RFC 8446, 4.1.2)
    hello
}

fn garbage_on_the_tls_port_is_refused(bytes: Vec<u8>, by_alert: bool) {
    let site = site("");
    let mut other = site.connect(site.authority.client(&["http/1.1"]));
    let mut client = site.proxy.connect();
    client.send(&bytes);
    let (answer, end) = client.read_to_end();
    if by_alert {
        assert_alert(&answer);
    } else {
        assert!(answer.is_empty(), "{}", shown(&answer));
    }
    assert_eq!(end, End::Fin, "a reset would destroy the alert");
    let line = site.failed_handshake();
    assert_eq!((line.level(), line.text("fault").as_str()), ("INFO", "client"), "{}", line.raw);
    assert_eq!(line.text("client"), client.local_address().to_string(), "{}", line.raw);
    get(&mut other);
    site.serves();
}

rows! { plain_http_on_the_tls_port_is_told_so {
    plain_http_on_the_tls_port_is_told_so_get: GET;
    plain_http_on_the_tls_port_is_told_so_an_offer: "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n";
    plain_http_on_the_tls_port_is_told_so_post: &format!("POST / HTTP/1.1\r\nContent-Length: 40000\r\n\r\n{}", "x".repeat(40_000));
    plain_http_on_the_tls_port_is_told_so_h2: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    plain_http_on_the_tls_port_is_told_so_half_a_line: "GE";
}}

fn plain_http_on_the_tls_port_is_told_so(bytes: &str) {
    let site = site("");
    let mut client = site.proxy.connect();
    client.send(bytes);
    let (head, body) = client.read_answer();
    assert_eq!(head.status(), 400);
    head.assert_line("Connection: close");
    assert!(body.text().contains("TLS") && body.text().contains("https://"), "{}", body.text());
    client.expect_fin();
    let line = site.proxy.wait_for_log(|line| line.says("plain HTTP to a TLS port"), LIMIT);
    assert_eq!(line.text("fault"), "client", "{}", line.raw);
    site.serves();
}

#[test]
fn tls_on_the_plain_port_gets_400_and_a_close() {
    let site = site("");
    let mut client = Conn::connect(site.proxy.address(1));
    client.send(client_hello());
    let (head, _) = client.read_answer();
    assert_eq!(head.status(), 400);
    client.expect_fin();
    site.proxy.wait_for_log(|line| line.text("fault") == "client", LIMIT);
    get(&mut Conn::connect(site.proxy.address(1)));
}

rows! { a_client_that_stops_within_its_handshake_is_closed_in_time {
    a_client_that_stops_within_its_handshake_is_closed_in_time_at_its_start: Vec::new();
    a_client_that_stops_within_its_handshake_is_closed_in_time_after_a_byte: vec![22];
    a_client_that_stops_within_its_handshake_is_closed_in_time_half_way_through_its_hello: client_hello()[..50].to_vec();
    a_client_that_stops_within_its_handshake_is_closed_in_time_after_its_hello: client_hello();
}}

fn a_client_that_stops_within_its_handshake_is_closed_in_time(bytes: Vec<u8>) {
    let site = site("timeouts.tls = \"500ms\"");
    let open_files = site.proxy.open_files();
    let began = Instant::now();
    let mut client = site.proxy.connect();
    client.send(&bytes);
    client.read_to_end();
    let taken = began.elapsed();
    assert!(taken > Duration::from_millis(450) && taken < Duration::from_secs(4), "closed after {taken:?}");
    let line = site.failed_handshake();
    assert_eq!(line.text("fault"), "client", "{}", line.raw);
    assert!(line.says("in time"), "{}", line.raw);
    site.proxy.wait_for_open_files(open_files);
    site.serves();
}

#[test]
fn a_handshake_in_single_bytes_is_a_handshake() {
    let site = site("");
    let mut client = site.proxy.connect();
    client.send_in_single_bytes(client_hello());
    let answer = client.read_some();
    assert_eq!(answer[0], 22, "a ServerHello: {}", shown(&answer));
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_the_clients_matter() {
    let site = site("");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let trusting_nobody = Arc::new(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    assert!(Conn::try_connect_tls(site.proxy.address(0), "localhost", trusting_nobody).is_err());
    let line = site.failed_handshake();
    assert_eq!((line.level(), line.text("fault").as_str()), ("INFO", "client"), "{}", line.raw);
    assert!(line.says("refused our certificate"), "{}", line.raw);
    site.serves();
}

#[test]
fn a_hundred_clients_that_leave_at_once_leave_nothing() {
    let site = site("");
    site.serves();
    let open_files = site.proxy.open_files();
    for n in 0..100 {
        let mut client = site.proxy.connect();
        match n % 4 {
            0 => drop(client),
            1 => client.reset(),
            2 => client.send(&client_hello()[..60]),
            _ => {
                client.send(client_hello());
                client.read_some();
            }
        }
    }
    site.proxy.wait_for_open_files(open_files);
    assert!(!site.proxy.logs().iter().any(|line| line.level() == "WARN" || line.level() == "ERROR"), "no fault of ours");
    site.serves();
}

// --- bad files -------------------------------------------------------------------------------------------

/// Does not come up: exit 2, and the log says these words. `{dir}` is where the files are.
#[track_caller]
fn does_not_start(chain: &str, key: &str, words: &[&str]) {
    let authority = Authority::new();
    let (ours, other) = (authority.identity(&["a.example"]), authority.identity(&["b.example"]));
    let text = "
        [[listen]]
        address = \"127.0.0.1:0\"
        [[listen.certificate]]
        chain = \"{chain}\"
        key = \"{key}\"
        [[route]]
        backend = \"http://127.0.0.1:9\"";
    let armor = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let setup = Proxy::setup(text).put("chain", chain).put("key", key);
    let setup = setup.file("ours.pem", &ours.chain_pem).file("ours.key", &ours.key_pem).file("other.key", &other.key_pem);
    let setup = setup.file("empty.pem", "").file("words.pem", "no PEM in here\n").file("certs/inside", "");
    let setup = setup.file("der.pem", ours.certificate().as_ref()).file("locked.key", armor);
    let setup = setup.file("cut.pem", &ours.chain_pem[..300]);
    let dir = setup.dir().display().to_string();
    let mut proxy = setup.launch();
    assert_eq!(proxy.wait_exit(LIMIT).code(), Some(2));
    let log: String = proxy.logs().iter().map(|line| line.raw.clone() + "\n").collect();
    for word in words {
        let word = word.replace("{dir}", &dir);
        assert!(log.contains(&word), "{word:?} is not in:\n{log}");
    }
}

rows! { does_not_start {
    a_chain_that_is_missing_ends_the_start: "none.pem", "ours.key", &["{dir}/none.pem: there is no such file", "certificate[0].chain"];
    a_key_that_is_missing_ends_the_start: "ours.pem", "none.key", &["{dir}/none.key: there is no such file", "certificate[0].key"];
    a_chain_that_is_a_directory_ends_the_start: "certs", "ours.key", &["{dir}/certs: this is a directory"];
    a_key_that_is_a_directory_ends_the_start: "ours.pem", "certs", &["{dir}/certs: this is a directory"];
    a_chain_without_pem_ends_the_start: "words.pem", "ours.key", &["{dir}/words.pem: there is no PEM inside"];
    a_key_without_pem_ends_the_start: "ours.pem", "words.pem", &["{dir}/words.pem: there is no PEM inside"];
    an_empty_chain_ends_the_start: "empty.pem", "ours.key", &["{dir}/empty.pem: there is no PEM inside"];
    a_chain_of_der_ends_the_start: "der.pem", "ours.key", &["{dir}/der.pem: this is DER", "openssl x509"];
    a_chain_that_is_cut_ends_the_start: "cut.pem", "ours.key", &["{dir}/cut.pem: the PEM inside is broken"];
    a_key_of_another_certificate_ends_the_start: "ours.pem", "other.key", &["{dir}/other.key: this is the key of another certificate", "{dir}/ours.pem"];
    an_encrypted_key_ends_the_start: "ours.pem", "locked.key", &["{dir}/locked.key: the private key is encrypted"];
    exchanged_files_end_the_start: "ours.key", "ours.pem", &["{dir}/ours.key: there is a private key inside", "{dir}/ours.pem: there is a certificate inside"];
    two_bad_files_are_told_at_once: "words.pem", "none.key", &["{dir}/words.pem: there is no PEM inside", "{dir}/none.key: there is no such file"];
}}

rows! { a_certificate_out_of_its_time_is_served_with_a_loud_warning {
    a_certificate_out_of_its_time_is_served_with_a_loud_warning_expired: Validity::Expired, "EXPIRED";
    a_certificate_out_of_its_time_is_served_with_a_loud_warning_not_yet: Validity::NotYet, "NOT VALID before";
}}

fn a_certificate_out_of_its_time_is_served_with_a_loud_warning(validity: Validity, words: &str) {
    let authority = Authority::new();
    let backend = Backend::http(200, "inside");
    let identity = authority.identity_valid(&["localhost"], validity);
    let proxy = before(&backend, "", &identity);
    let line = proxy.wait_for_log(|line| line.raw.contains(words), LIMIT);
    assert_eq!((line.level(), line.text("fault").as_str()), ("WARN", "configuration"), "{}", line.raw);
    assert!(line.says("site.pem"), "names the file: {}", line.raw);
    // It is served; who looks at it refuses it.
    get(&mut Conn::connect_tls(proxy.address(0), "localhost", trusting_anything()));
    let error = Conn::try_connect_tls(proxy.address(0), "localhost", authority.client(&[])).err().unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn a_good_certificate_makes_no_warning() {
    let site = site("");
    site.serves();
    assert!(!site.proxy.logs().iter().any(|line| line.level() == "WARN"));
}
