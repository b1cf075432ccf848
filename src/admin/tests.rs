//! The admin address as a probe sees it: raw sockets, real answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;

struct Admin {
    address: SocketAddr,
    service: Shutdown,
    own: Shutdown,
    tasks: Tasks,
}

fn start() -> Admin {
    let (service, own, tasks) = (Shutdown::new(), Shutdown::new(), Tasks::new(|_, _| ()));
    let listener = bind(&Settings { address: (Ipv4Addr::LOCALHOST, 0).into() }).expect("a free port");
    let address = listener.local_addr().expect("bound");
    serve(listener, State { service: service.clone() }, own.clone(), &tasks).expect("inside a runtime");
    Admin { address, service, own, tasks }
}

async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer and an end");
    answer
}

#[tokio::test]
async fn healthz_is_ok_until_the_service_drains_and_503_from_then_on() {
    let admin = start();
    let answer = ask(admin.address, "GET /healthz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    admin.service.drain();
    let answer = ask(admin.address, "GET /healthz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\ndraining\n"), "{answer}");
}

#[tokio::test]
async fn head_gets_the_status_alone_and_all_else_is_404() {
    let admin = start();
    let answer = ask(admin.address, "HEAD /healthz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    for head in ["GET / HTTP/1.1", "GET /healthz/ HTTP/1.1", "DELETE /healthz HTTP/1.1"] {
        let answer = ask(admin.address, head).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_drained_admin_listener_leaves_no_task_behind() {
    let admin = start();
    let mut kept = TcpStream::connect(admin.address).await.expect("it listens");
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("taken");
    assert_eq!(kept.read_u8().await.expect("an answer on a connection that stays"), b'H');
    admin.own.drain();
    admin.tasks.wait().await;
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_gone_after_ten_seconds() {
    let admin = start();
    let mut silent = TcpStream::connect(admin.address).await.expect("it listens");
    let started = Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).await.expect("a FIN"), 0);
    let waited = started.elapsed();
    assert!(waited >= HEAD_TIME && waited < HEAD_TIME + Duration::from_secs(1), "{waited:?}");
}

#[tokio::test]
async fn the_sixty_fifth_connection_waits_for_a_place() {
    let admin = start();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(admin.address).await.expect("it listens");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("taken");
        assert_eq!(stream.read_u8().await.expect("served"), b'H');
        held.push(stream);
    }
    let next = ask(admin.address, "GET /healthz HTTP/1.1");
    let mut next = pin!(next);
    assert!(tokio::time::timeout(Duration::from_millis(100), next.as_mut()).await.is_err());
    held.pop();
    assert!(next.await.starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_taken_address_and_a_foreign_one_are_named() {
    let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = holder.local_addr().expect("bound");
    let error = bind(&Settings { address }).expect_err("it is taken");
    assert_eq!(error.to_string(), format!("the admin address {address} is taken by another program"));
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let error = bind(&Settings { address: ([192, 0, 2, 1], 9).into() }).expect_err("not ours");
    assert_eq!(error.to_string(), "the admin address 192.0.2.1:9 is not an address of this machine");
}
