//! Requests that proxies like to break: slow ones, large ones, WebSockets, and ones that lie about where they come from.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use e2e::echo;
use reqwest::blocking::{Body, Client};
use serde_json::Value;

use crate::support::{Scratch, answered, gateway_address, lab};

const HOST: &str = "requests.example.com";
/// Longer than the 15 seconds after which Envoy gives up unless the route says otherwise.
const SLOW: Duration = Duration::from_secs(17);
const TIMEOUTS: &str = "timeouts: {request: 40s}";
/// An address that no client has.
const LIE: &str = "192.0.2.9";

#[test]
fn slow_large_and_upgraded_requests_pass_and_nobody_is_believed_about_their_address() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("requests", &[tenant]);
    let ns = &scratch.namespace;
    let route = echo::http_route(ns, "web", "edge", HOST, "web");
    let patient = route.replace("{backendRefs:", &format!("{{{TIMEOUTS}, backendRefs:"));
    assert_ne!(route, patient);
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &patient),
        )
        .unwrap();
    let address = gateway_address(tenant, ns, "edge");
    let url = format!("http://{address}/");
    answered(&url, Some(HOST));

    let mut socket = WebSocket::open(&address);
    socket.echoes("first");
    let slow = thread::spawn({
        let url = format!("{url}?delay={}s", SLOW.as_secs());
        move || {
            let begin = Instant::now();
            let status = client().get(url).header("Host", HOST).send().unwrap().status();
            (status.as_u16(), begin.elapsed())
        }
    });
    large(&url);
    lied(&url);
    let (status, took) = slow.join().unwrap();
    assert_eq!(status, 200);
    assert!(took >= SLOW, "{took:?}");
    socket.echoes("after some idle time");
}

fn client() -> Client {
    let limit = Duration::from_secs(30);
    Client::builder().timeout(limit).no_proxy().build().unwrap()
}

/// A header of 40 KiB, and a body of 2 MiB of which nobody knows the length beforehand.
fn large(url: &str) {
    let body = Body::new(std::io::repeat(b'x').take(2 << 20));
    let response = client()
        .post(url)
        .header("Host", HOST)
        .header("X-Large", "h".repeat(40 << 10))
        .body(body)
        .send()
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let seen: Value = serde_json::from_str(&response.text().unwrap()).unwrap();
    let length = |value: &Value| value.as_str().map(str::len);
    assert_eq!(length(&seen["headers"]["X-Large"][0]), Some(40 << 10));
}

/// What a client says of its own address does not become the address that is trusted.
fn lied(url: &str) {
    let request = client()
        .get(url)
        .header("Host", HOST)
        .header("X-Forwarded-For", LIE)
        .header("X-Envoy-External-Address", LIE);
    let seen: Value = serde_json::from_str(&request.send().unwrap().text().unwrap()).unwrap();
    let header = |name: &str| -> Vec<String> {
        let values = seen["headers"][name].as_array().into_iter().flatten();
        let values = values
            .filter_map(Value::as_str)
            .flat_map(|value| value.split(','));
        values.map(|value| value.trim().to_owned()).collect()
    };
    let forwarded = header("X-Forwarded-For");
    let trusted = forwarded.last().unwrap();
    assert_ne!(trusted, LIE, "{seen}");
    assert!(trusted.parse::<std::net::IpAddr>().is_ok(), "{seen}");
    let count = |address: &str| forwarded.iter().filter(|entry| *entry == address).count();
    assert_eq!((count(LIE), count(trusted)), (1, 1), "each once: {seen}");
    assert!(
        !header("X-Envoy-External-Address").contains(&LIE.to_owned()),
        "{seen}"
    );
}

/// A connection that was upgraded to WebSocket, which the echo server sends back what it gets.
struct WebSocket(BufReader<TcpStream>);

impl WebSocket {
    fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect((address, 80)).unwrap();
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).unwrap();
        stream.set_write_timeout(limit).unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "closed after {head:?}");
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(reader)
    }

    /// One text frame there, as RFC 6455 section 5.2 has it, and the same back.
    fn echoes(&mut self, text: &str) {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126, "a longer text has another head");
        let masked = text
            .bytes()
            .zip(MASK.into_iter().cycle())
            .map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [0x81, 0x80 | length]
            .into_iter()
            .chain(MASK)
            .chain(masked)
            .collect();
        self.0.get_mut().write_all(&frame).unwrap();
        let mut back = vec![0; usize::from(length) + 2];
        self.0.read_exact(&mut back).unwrap();
        assert_eq!(&back[2..], text.as_bytes());
    }
}
