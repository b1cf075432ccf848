//! Promises of the listeners, on real sockets.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::net::{Peer, Socket};

fn on(address: SocketAddr) -> Settings {
    Settings { address: Address::Ip(address), ..Settings::default() }
}

fn at(path: &Path) -> Settings {
    Settings { address: Address::Unix(path.to_owned()), ..Settings::default() }
}

fn loopback() -> Settings {
    on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn ip_of(listener: &Listener) -> SocketAddr {
    match listener.local_address() {
        Address::Ip(address) => *address,
        Address::Unix(path) => panic!("a unix socket at {}", path.display()),
    }
}

fn sentence(settings: &Settings) -> String {
    Listener::bind(settings).expect_err("it must not open").to_string()
}

#[tokio::test]
async fn a_client_is_accepted_with_its_address_and_without_delay() {
    let listener = Listener::bind(&loopback()).unwrap();
    let mut client = TcpStream::connect(ip_of(&listener)).await.unwrap();
    let mut accepted = listener.accept().await;
    assert_eq!(accepted.peer, Peer::Ip(client.local_addr().unwrap()));
    let Socket::Tcp(tcp) = &accepted.socket else { panic!("not TCP") };
    assert!(tcp.nodelay().unwrap());
    client.write_all(b"hi").await.unwrap();
    let mut got = [0; 2];
    accepted.socket.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hi");
}

/// Set on the listener, they are Linux's to pass on: if it ever does not, vanished clients are noticed by nobody.
#[tokio::test]
async fn what_is_accepted_has_the_options_of_a_connection_of_ours() {
    let listener = Listener::bind(&loopback()).unwrap();
    let _client = TcpStream::connect(ip_of(&listener)).await.unwrap();
    let accepted = listener.accept().await;
    let Socket::Tcp(tcp) = &accepted.socket else { panic!("not TCP") };
    let tcp = socket2::SockRef::from(tcp);
    assert!(tcp.tcp_nodelay().unwrap() && tcp.keepalive().unwrap());
    let seconds = |seconds| std::time::Duration::from_secs(seconds);
    assert_eq!((tcp.tcp_keepalive_time().unwrap(), tcp.tcp_keepalive_interval().unwrap()), (seconds(60), seconds(15)));
    assert_eq!((tcp.tcp_keepalive_retries().unwrap(), tcp.tcp_user_timeout().unwrap()), (6, Some(seconds(150))));
}

#[tokio::test]
async fn port_0_is_told_as_the_port_it_became() {
    let listener = Listener::bind(&loopback()).unwrap();
    assert_ne!(ip_of(&listener).port(), 0);
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_way_to_find_who_has_it() {
    let first = Listener::bind(&loopback()).unwrap();
    let address = ip_of(&first);
    let text = sentence(&on(address));
    assert!(text.contains(&format!("{address}: another process has port {}", address.port())), "{text}");
    assert!(text.contains(&format!("ss -ltnp 'sport = :{}'", address.port())), "{text}");
    drop(first);
    Listener::bind(&on(address)).expect("free again");
}

#[tokio::test]
async fn a_restart_does_not_wait_for_time_wait() {
    let first = Listener::bind(&loopback()).unwrap();
    let address = ip_of(&first);
    let mut client = TcpStream::connect(address).await.unwrap();
    drop(first.accept().await); // our side closes first, so TIME_WAIT is on our port
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    drop(client);
    drop(first);
    Listener::bind(&on(address)).expect("SO_REUSEADDR is set");
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused_by_name() {
    // TEST-NET-1 (RFC 5737): nobody's address.
    let text = sentence(&on(SocketAddr::from(([192, 0, 2, 1], 0))));
    assert!(text.contains("192.0.2.1 is not an address of this machine"), "{text}");
}

#[test]
fn a_privileged_port_names_the_capability_and_both_ways_to_give_it() {
    let denied = std::io::Error::from_raw_os_error(libc::EACCES);
    let text = BindError::of_ip(SocketAddr::from(([0, 0, 0, 0], 80)), "binding", denied).to_string();
    for part in ["0.0.0.0:80", "CAP_NET_BIND_SERVICE", "setcap", "systemd"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn the_ipv6_wildcard_takes_ipv4_clients_unless_it_is_told_not_to() {
    let wildcard = on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let Ok(both) = Listener::bind(&wildcard) else {
        // A machine without IPv6: the sentence says so.
        assert!(sentence(&wildcard).contains("IPv6 switched off"));
        return;
    };
    let by_ipv4 = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let client = by_ipv4(ip_of(&both).port()).await.unwrap();
    assert_eq!(both.accept().await.peer, Peer::Ip(client.local_addr().unwrap()), "shown as IPv4");

    let only = Listener::bind(&Settings { ipv6_only: true, ..wildcard }).unwrap();
    by_ipv4(ip_of(&only).port()).await.expect_err("refused");
    TcpStream::connect((Ipv6Addr::LOCALHOST, ip_of(&only).port())).await.unwrap();
    only.accept().await;
}

#[tokio::test]
async fn while_max_connections_are_alive_the_next_waits_in_the_kernels_queue() {
    let listener = Listener::bind(&Settings { max_connections: Some(1), ..loopback() }).unwrap();
    let _first_client = TcpStream::connect(ip_of(&listener)).await.unwrap();
    let second_client = TcpStream::connect(ip_of(&listener)).await.unwrap();
    let first = listener.accept().await;
    let mut second = Box::pin(listener.accept());
    assert!((&mut second).now_or_never().is_none());
    drop(first.permit);
    assert_eq!(second.await.peer, Peer::Ip(second_client.local_addr().unwrap()));
}

#[tokio::test]
async fn an_accept_that_is_given_up_gives_its_permit_back() {
    let listener = Listener::bind(&Settings { max_connections: Some(1), ..loopback() }).unwrap();
    assert!(listener.accept().now_or_never().is_none(), "nobody is there yet");
    let client = TcpStream::connect(ip_of(&listener)).await.unwrap();
    assert_eq!(listener.accept().await.peer, Peer::Ip(client.local_addr().unwrap()));
}

#[tokio::test]
async fn a_unix_socket_has_the_mode_of_the_settings_and_goes_with_its_listener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for mode in [0o600, 0o666] {
        let listener = Listener::bind(&Settings { unix_mode: mode, ..at(&path) }).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, mode);
        let client = UnixStream::connect(&path).unwrap();
        assert_eq!(listener.accept().await.peer, Peer::Unix);
        drop((client, listener));
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_stale_unix_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap()); // std leaves the file, as a killed process does
    assert!(path.exists());
    let listener = Listener::bind(&at(&path)).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    listener.accept().await;
}

#[tokio::test]
async fn a_unix_socket_that_is_served_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let other = UnixListener::bind(&path).unwrap();
    let text = sentence(&at(&path));
    assert!(text.contains("another process serves there"), "{text}");
    other.accept().unwrap(); // our look
    UnixStream::connect(&path).expect("still served");
    other.accept().unwrap();
}

#[tokio::test]
async fn what_is_not_a_socket_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "data").unwrap();
    let text = sentence(&at(&path));
    assert!(text.contains("not a socket"), "{text}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[tokio::test]
async fn a_listener_that_goes_leaves_the_socket_of_its_successor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let old = Listener::bind(&at(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    let _new = Listener::bind(&at(&path)).unwrap();
    drop(old);
    UnixStream::connect(&path).expect("the new one is there");
}

#[tokio::test]
async fn a_missing_folder_and_a_path_too_long_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no").join("s");
    assert!(sentence(&at(&missing)).contains("/no does not exist"), "{}", sentence(&at(&missing)));
    let long = folder.path().join("x".repeat(120));
    assert!(sentence(&at(&long)).contains("at most 107 bytes"));
}
