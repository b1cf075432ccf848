//! The backend as a visitor sees it: raw sockets, frames written by hand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Backend;
use crate::base::{Shutdown, Tasks};

struct Demo {
    backend: Backend,
    shutdown: Shutdown,
    tasks: Tasks,
}

fn start() -> Demo {
    let (shutdown, tasks) = (Shutdown::new(), Tasks::new(|name, panic| eprintln!("{name}: {panic}")));
    Demo { backend: Backend::start(&tasks, shutdown.clone()).expect("a free port"), shutdown, tasks }
}

impl Demo {
    async fn get(&self, target: &str) -> String {
        ask(self.backend.address(), &format!("GET {target} HTTP/1.1")).await
    }
}

async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer and an end");
    answer
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A WebSocket client without a library (RFC 6455 5.2).
struct Visitor(TcpStream);

impl Visitor {
    async fn open(address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let offer = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(offer.as_bytes()).await.expect("taken");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole head"));
        }
        let head = String::from_utf8(head).expect("ASCII").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        Self(stream)
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut frame = vec![first];
        match payload.len() {
            n @ ..126 => frame.push(0x80 | u8::try_from(n).expect("small")),
            n @ ..0x1_0000 => {
                frame.push(0xfe);
                frame.extend(u16::try_from(n).expect("16 bits").to_be_bytes());
            }
            n => {
                frame.push(0xff);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).await.expect("taken");
    }

    async fn says(&mut self, name: &str, text: &str) {
        let json = serde_json::json!({ "name": name, "text": text }).to_string();
        self.send(0x80 | TEXT, json.as_bytes()).await;
    }

    /// One frame: opcode (FIN must be set), payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.expect("a frame");
        assert_eq!(first & 0xf0, 0x80, "FIN and no reserved bits");
        let length = match self.0.read_u8().await.expect("a length") {
            126 => u64::from(self.0.read_u16().await.expect("16 bits")),
            127 => self.0.read_u64().await.expect("64 bits"),
            n => u64::from(n), // a mask bit would make this more than 127, and the test fail
        };
        let mut payload = vec![0; usize::try_from(length).expect("fits")];
        self.0.read_exact(&mut payload).await.expect("a payload");
        (first & 0x0f, payload)
    }

    async fn hears(&mut self) -> serde_json::Value {
        let (opcode, payload) = self.frame().await;
        assert_eq!(opcode, TEXT);
        serde_json::from_slice(&payload).expect("JSON")
    }

    async fn close_code(&mut self) -> u16 {
        let (opcode, payload) = self.frame().await;
        assert_eq!(opcode, CLOSE);
        u16::from_be_bytes(payload.try_into().expect("a code and no reason"))
    }

    async fn at_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 1]).await.expect("a FIN, no reset"), 0);
    }
}

#[tokio::test]
async fn what_one_says_everybody_hears_and_newcomers_get_the_history() {
    let demo = start();
    let mut ada = Visitor::open(demo.backend.address(), "/chat").await;
    let mut bob = Visitor::open(demo.backend.address(), "/chat").await;
    ada.says("Ada", "good morning ☀").await;
    for visitor in [&mut ada, &mut bob] {
        let said = visitor.hears().await;
        assert_eq!((&said["name"], &said["text"]), (&"Ada".into(), &"good morning ☀".into()));
        assert!(said["at"].as_u64().expect("a time") > 1_700_000_000_000);
    }
    bob.send(0x80 | TEXT, b"typed by hand").await;
    assert_eq!(ada.hears().await["text"], "typed by hand");
    let mut eve = Visitor::open(demo.backend.address(), "/chat").await;
    assert_eq!(eve.hears().await["text"], "good morning ☀");
    assert_eq!(eve.hears().await["name"], "guest 2");
}

#[tokio::test]
async fn the_terminal_sees_who_came_what_length_was_said_and_who_left() {
    let demo = start();
    let mut lines = demo.backend.traffic();
    let mut ada = Visitor::open(demo.backend.address(), "/chat").await;
    assert_eq!(lines.recv().await.expect("a line"), "chat   guest 1 joined, 1 here");
    ada.says("Ada\x1b[2J", "secret").await;
    assert_eq!(lines.recv().await.expect("a line"), "chat   guest 1 is now Ada[2J");
    assert_eq!(lines.recv().await.expect("a line"), "chat   Ada[2J said 6 characters to 1");
    ada.hears().await;
    ada.send(0x80 | CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(lines.recv().await.expect("a line"), "chat   Ada[2J left: closed by the visitor, code 1000");
}

#[tokio::test]
async fn the_echo_gives_back_text_binary_and_fragments_and_answers_pings_between_them() {
    let demo = start();
    let mut echo = Visitor::open(demo.backend.address(), "/echo").await;
    echo.send(0x80 | TEXT, "grüß".as_bytes()).await;
    assert_eq!(echo.frame().await, (TEXT, "grüß".into()));
    let large: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    echo.send(0x80 | BINARY, &large).await;
    assert_eq!(echo.frame().await, (BINARY, large));
    echo.send(TEXT, b"one ").await;
    echo.send(0x80 | PING, b"there?").await;
    assert_eq!(echo.frame().await, (PONG, b"there?".into()));
    echo.send(0, b"message ").await;
    echo.send(0x80, b"in three").await;
    assert_eq!(echo.frame().await, (TEXT, b"one message in three".into()));
    echo.send(0x80 | BINARY, b"").await;
    assert_eq!(echo.frame().await, (BINARY, vec![]));
}

#[tokio::test]
async fn a_close_code_comes_back_and_then_the_end_without_a_reset() {
    let demo = start();
    for path in ["/echo", "/chat"] {
        let mut visitor = Visitor::open(demo.backend.address(), path).await;
        visitor.send(0x80 | CLOSE, &4001_u16.to_be_bytes()).await;
        assert_eq!(visitor.close_code().await, 4001, "{path}");
        visitor.at_end().await;
    }
}

#[tokio::test]
async fn frames_in_the_packet_of_the_offer_are_not_lost() {
    let demo = start();
    let mut stream = TcpStream::connect(demo.backend.address()).await.expect("it listens");
    let mut early = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    early.extend([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    stream.write_all(&early).await.expect("taken");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x81\x02hi") {
        answer.push(stream.read_u8().await.expect("the early frame's echo"));
    }
}

#[tokio::test]
async fn a_broken_rule_gets_its_close_code_and_no_reset() {
    let demo = start();
    let too_large = vec![b'x'; super::echo::MAX + 1];
    let cases: [(&str, u8, &[u8], u16); 5] = [
        ("/echo", 0x80 | TEXT, b"\xff\xff", 1007),
        ("/echo", 0x80 | 3, b"", 1002),
        ("/echo", 0xc0 | TEXT, b"compressed?", 1002),
        ("/echo", 0x80 | BINARY, &too_large, 1009),
        ("/chat", 0x80 | BINARY, b"no pictures", 1003),
    ];
    for (path, first, payload, code) in cases {
        let mut visitor = Visitor::open(demo.backend.address(), path).await;
        visitor.send(first, payload).await;
        assert_eq!(visitor.close_code().await, code, "{path} {first:x}");
        visitor.send(0x80 | CLOSE, &code.to_be_bytes()).await;
        visitor.at_end().await;
    }
    let mut visitor = Visitor::open(demo.backend.address(), "/echo").await;
    visitor.0.write_all(b"\x81\x02hi").await.expect("taken"); // not masked (RFC 6455 5.1)
    assert_eq!(visitor.close_code().await, 1002);
}

#[tokio::test]
async fn the_first_event_is_there_at_once() {
    let demo = start();
    let started = Instant::now();
    let mut stream = TcpStream::connect(demo.backend.address()).await.expect("it listens");
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("taken");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n\n") {
        answer.push(stream.read_u8().await.expect("an event"));
    }
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.to_lowercase().contains("\r\ncontent-type: text/event-stream\r\n"), "{answer}");
    assert!(answer.contains("id: 1\ndata: {") && answer.contains(r#""streams":1"#), "{answer}");
}

#[tokio::test]
async fn a_long_poll_returns_when_something_is_said() {
    let demo = start();
    let mut lines = demo.backend.traffic();
    let mut ada = Visitor::open(demo.backend.address(), "/chat").await;
    ada.says("Ada", "one").await;
    ada.hears().await;
    let (answer, ()) = tokio::join!(demo.get("/poll?after=1"), async {
        ada.says("Ada", "two").await;
    });
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""text":"two""#), "{answer}");
    loop {
        let line = lines.recv().await.expect("a line");
        if let Some(line) = line.strip_prefix("poll   ") {
            assert!(line.starts_with("message 2 after "), "{line}");
            break;
        }
    }
}

#[tokio::test]
async fn the_page_is_one_file_and_headers_shows_what_arrived() {
    let demo = start();
    let page = demo.get("/").await;
    assert!(page.starts_with("HTTP/1.1 200 "));
    for id in [r#"id="name""#, r#"id="text""#, r#"id="send""#, r#"id="messages""#, r#"id="state""#] {
        assert!(page.contains(id), "{id}");
    }
    for outside in ["src=\"http", "href=\"http", "@import", "url(http", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let head = "GET /headers?x=1 HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nVia: a\r\nVia: b";
    let answer = ask(demo.backend.address(), head).await;
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    let seen: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(seen["request"], "GET /headers?x=1 HTTP/1.1");
    assert_eq!(seen["headers"]["x-forwarded-for"], "192.0.2.1");
    assert_eq!(seen["headers"]["via"], serde_json::json!(["a", "b"]));
}

#[tokio::test]
async fn other_methods_and_paths_get_their_status() {
    let demo = start();
    let cases = [
        ("GET /nowhere", "404"),
        ("POST /", "405"),
        ("GET /chat", "426"),
        ("HEAD /", "200"),
        ("HEAD /events", "200"),
        ("HEAD /poll", "204"),
    ];
    for (head, status) in cases {
        let answer = ask(demo.backend.address(), &format!("{head} HTTP/1.1")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(!head.starts_with("HEAD") || answer.ends_with("\r\n\r\n"), "{head}: {answer}");
    }
}

#[tokio::test]
async fn draining_ends_everything_politely_and_leaves_no_task_behind() {
    let demo = start();
    let mut chat = Visitor::open(demo.backend.address(), "/chat").await;
    let mut echo = Visitor::open(demo.backend.address(), "/echo").await;
    let (events, poll, ()) = tokio::join!(demo.get("/events"), demo.get("/poll?after=7"), async {
        // Once the stream is counted and the poll's line is not yet there, both hang.
        let mut lines = demo.backend.traffic();
        while lines.recv().await.expect("a line") != "events stream opened" {}
        demo.shutdown.drain();
        for visitor in [&mut chat, &mut echo] {
            assert_eq!(visitor.close_code().await, 1001);
            visitor.send(0x80 | CLOSE, &1001_u16.to_be_bytes()).await;
            visitor.at_end().await;
        }
    });
    drop((chat, echo));
    assert!(events.ends_with("\r\n0\r\n\r\n"), "a whole stream: {events}");
    assert!(poll.starts_with("HTTP/1.1 204 ") || poll.is_empty(), "{poll}");
    demo.tasks.wait().await;
    assert!(TcpStream::connect(demo.backend.address()).await.is_err());
}
