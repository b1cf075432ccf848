//! Our side as a server.

use rcgen::{PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;

/// Which certificate a client is shown that asks for `name`.
async fn shown(acceptor: &Acceptor, authority: &Authority, name: &str) -> Vec<u8> {
    // Names that the default is not for are shown it all the same; the client here takes any.
    let mut client = ClientConfig::clone(&authority.client(&[&TLS13]));
    client.dangerous().set_certificate_verifier(Arc::new(Anything));
    let (_, client) = handshake(acceptor, Arc::new(client), name).await;
    client.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_its_name_or_the_first() {
    let authority = Authority::new();
    let default = authority.issue(&["default.test"]);
    let exact = authority.issue(&["a.example.test"]);
    let wild = authority.issue(&["*.example.test", "Upper.Case.Test"]);
    let acceptor = Acceptor::new(certificates(&[default.clone(), wild.clone(), exact.clone()]));
    for (name, files) in [
        ("a.example.test", &exact),
        ("A.EXAMPLE.test", &exact),
        ("b.example.test", &wild),
        ("upper.case.test", &wild),
        ("a.b.example.test", &default), // a wildcard is one label
        ("example.test", &default),
        ("elsewhere.test", &default),
        ("default.test", &default),
        ("127.0.0.1", &default), // no SNI is sent for an address
    ] {
        assert!(shown(&acceptor, &authority, name).await == der(&files.chain), "{name}");
    }
}

#[tokio::test]
async fn of_two_keys_for_one_name_the_client_gets_the_one_it_can_check() {
    let authority = Authority::new();
    let odd = authority.issue_with(&["a.test"], &PKCS_ED25519, |_| {});
    let odd = CertificateFiles {
        chain: authority.write("odd.pem", std::fs::read(odd.chain).unwrap()),
        key: authority.write("odd.key", std::fs::read(odd.key).unwrap()),
    };
    let common = authority.issue(&["a.test"]);
    let both = certificates(&[odd.clone(), common.clone()]);
    let chosen = |schemes: &[_]| both.choose(Some("a.test"), schemes).cert[0].to_vec();
    assert!(chosen(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]) == der(&common.chain));
    assert!(chosen(&[rustls::SignatureScheme::ED25519]) == der(&odd.chain));
    assert!(chosen(&[]) == der(&odd.chain), "none fits: the first");
}

#[tokio::test]
async fn both_versions_carry_bytes_and_tell_what_was_agreed() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let (server, client) = handshake(&acceptor, authority.client(&[version]), "a.test").await;
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        assert_eq!((server.version, server.alpn, server.sni.as_deref()), (name, Alpn::H2, Some("a.test")));
        assert!(server.stream.is_tls());
        client.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        server.stream.read_exact(&mut got).await.unwrap();
        server.stream.write_all(&got).await.unwrap();
        server.stream.flush().await.unwrap();
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
    }
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_with_clients_that_can() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let (_server, client) = handshake(&acceptor, authority.client(&[&TLS13]), "a.test").await;
    let group = client.unwrap().get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn alpn_is_agreed_on_or_absent_or_refused_with_an_alert() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    for (offered, agreed) in [
        (vec!["http/1.1"], Some(Alpn::Http1)),
        (vec!["http/1.1", "h2"], Some(Alpn::H2)),
        (vec![], Some(Alpn::None)),
        (vec!["spdy/3"], None),
    ] {
        let mut client = ClientConfig::clone(&authority.client(&[&TLS13]));
        client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (server, client) = handshake(&acceptor, Arc::new(client), "a.test").await;
        match (server, agreed) {
            (Ok(server), Some(agreed)) => assert_eq!(server.alpn, agreed),
            (Err(error), None) => {
                assert_eq!(error.fault, AcceptFault::Client);
                assert_eq!(error.to_string(), "the client speaks neither h2 nor http/1.1 (ALPN)");
                assert!(client.unwrap_err().to_string().contains("NoApplicationProtocol"));
            }
            (server, agreed) => panic!("{offered:?}: {server:?}, not {agreed:?}"),
        }
    }
}

/// A handshake and a byte back, so that the client has read the tickets of TLS 1.3.
async fn kind(acceptor: &Acceptor, client: &Arc<ClientConfig>, name: &str) -> HandshakeKind {
    let (server, stream) = handshake(acceptor, client.clone(), name).await;
    let (mut server, mut stream) = (server.unwrap(), stream.unwrap());
    server.stream.write_all(b"!").await.unwrap();
    server.stream.flush().await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_swap_and_new_ones_get_the_new_certificate() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let first = authority.issue(&["a.test"]);
        let acceptor = Acceptor::new(certificates(std::slice::from_ref(&first)));
        let client = authority.client(&[version]);
        assert_ne!(kind(&acceptor, &client, "a.test").await, HandshakeKind::Resumed);
        assert_eq!(kind(&acceptor, &client, "a.test").await, HandshakeKind::Resumed);

        let (live, live_client) = handshake(&acceptor, client.clone(), "a.test").await;
        let (mut live, mut live_client) = (live.unwrap(), live_client.unwrap());
        let old = der(&first.chain);
        let second = authority.issue(&["a.test"]);
        acceptor.clone().swap(certificates(std::slice::from_ref(&second)));

        assert!(shown(&acceptor, &authority, "a.test").await == der(&second.chain));
        assert!(old != der(&second.chain));
        assert_eq!(kind(&acceptor, &client, "a.test").await, HandshakeKind::Resumed);
        live_client.write_all(b"?").await.unwrap();
        let mut got = [0];
        live.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"?", "the live connection is untouched");
    }
}

#[tokio::test]
async fn garbage_gets_an_alert_and_is_the_clients_fault() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\xff\xff\xff\xff",
        b"\x00\x01\x02\x03\x04\x05",
    ] {
        let (mut client, server) = pair().await;
        client.write_all(garbage).await.unwrap();
        let error = acceptor.accept(Socket::from(server), AMPLE, RecordLayer::Own).await.unwrap_err();
        assert_eq!(error.fault, AcceptFault::Client, "{error}");
        assert!(error.to_string().contains("no TLS handshake"), "{error}");
        assert!(error.socket.is_some());
        let mut alert = [0; 7];
        tokio::time::timeout(AMPLE, client.read_exact(&mut alert))
            .await
            .unwrap_or_else(|_| panic!("no alert for {garbage:?} ({error})"))
            .unwrap();
        assert_eq!((alert[0], alert[5]), (21, 2), "an alert record (RFC 8446, 5.1), level fatal");
    }
}

#[tokio::test]
async fn a_handshake_message_of_16_mib_is_refused_by_its_length() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let (mut client, server) = pair().await;
    client.write_all(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff").await.unwrap();
    let error = acceptor.accept(Socket::from(server), AMPLE, RecordLayer::Own).await.unwrap_err();
    assert_eq!(error.fault, AcceptFault::Client); // rustls sends no alert for this one: it is a bare close
}

#[tokio::test]
async fn a_client_that_stops_half_way_is_let_go_when_the_time_is_over() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let (mut client, server) = pair().await;
    client.write_all(b"\x16\x03\x01\x02\x00").await.unwrap(); // a record of 512 bytes, and none of them
    let error = acceptor.accept(Socket::from(server), Duration::from_millis(20), RecordLayer::Own).await.unwrap_err();
    assert_eq!(error.fault, AcceptFault::Time);
    assert_eq!(error.to_string(), "the client did not finish the handshake in time");
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "closed");
}

#[tokio::test]
async fn a_client_that_goes_away_is_nobodys_fault() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    let (mut client, server) = pair().await;
    client.write_all(b"\x16\x03\x01").await.unwrap();
    drop(client);
    let error = acceptor.accept(Socket::from(server), AMPLE, RecordLayer::Own).await.unwrap_err();
    assert_eq!(error.fault, AcceptFault::Gone, "{error}");
}

#[tokio::test]
async fn a_client_that_refuses_our_certificate_is_quoted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let acceptor = Acceptor::new(certificates(&[authority.issue(&["a.test"])]));
    for version in [&TLS12, &TLS13] {
        let (server, client) = handshake(&acceptor, stranger.client(&[version]), "a.test").await;
        client.unwrap_err();
        let error = server.unwrap_err();
        assert_eq!(error.fault, AcceptFault::Client);
        assert!(error.to_string().starts_with("the client refused our certificate: "), "{error}");
    }
}

#[tokio::test]
async fn nothing_in_common_is_said_by_what_is_missing() {
    let authority = Authority::new();
    let rsa = authority.issue_with(&["a.test"], &PKCS_RSA_SHA256, |_| {});
    let acceptor = Acceptor::new(certificates(&[rsa]));
    let mut few = CryptoProvider::clone(&provider());
    few.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let config = ClientConfig::builder_with_provider(Arc::new(few)).with_protocol_versions(&[&TLS12]).unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let (server, _) = handshake(&acceptor, Arc::new(config), "a.test").await;
    assert_eq!(server.unwrap_err().to_string(), "the client and we have no cipher suite in common");
}

#[tokio::test]
async fn the_first_byte_is_looked_at_and_stays() {
    for (first, hello) in [(&b"\x16\x03"[..], Hello::Tls), (b"GET ", Hello::PlainText)] {
        let (mut tcp, far) = pair().await;
        tcp.write_all(first).await.unwrap();
        let (mut unix, unix_far) = UnixStream::pair().unwrap();
        unix.write_all(first).await.unwrap();
        for mut socket in [Socket::from(far), Socket::from(unix_far)] {
            assert_eq!(Hello::sniff(&socket, AMPLE).await.unwrap(), hello);
            let mut got = vec![0; first.len()];
            socket.read_exact(&mut got).await.unwrap();
            assert_eq!(got, first);
        }
    }
}

#[tokio::test]
async fn a_client_without_a_first_byte_is_gone_or_too_slow() {
    let (tcp, far) = pair().await;
    let (unix, unix_far) = UnixStream::pair().unwrap();
    for socket in [&Socket::from(far), &Socket::from(unix_far)] {
        let error = Hello::sniff(socket, Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(error.fault, AcceptFault::Time);
    }
    drop((tcp, unix));
    let (tcp, far) = pair().await;
    let (unix, unix_far) = UnixStream::pair().unwrap();
    drop((tcp, unix));
    for socket in [&Socket::from(far), &Socket::from(unix_far)] {
        assert_eq!(Hello::sniff(socket, AMPLE).await.unwrap(), Hello::Gone);
    }
}

/// A client's verifier that takes any certificate, to see which one is shown.
#[derive(Debug)]
struct Anything;

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
