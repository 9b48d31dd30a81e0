//! Backends: servers on loopback that say who they are and send back what they get.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// A running backend. Ends when dropped.
pub struct Echo {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Answers each chunk with `<name>:<chunk>`.
pub async fn tcp(name: &'static str) -> Echo {
    tcp_at("127.0.0.1:0", name).await
}

/// As [`tcp`], at this address.
pub async fn tcp_at(address: &str, name: &'static str) -> Echo {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut chunk = [0; 2048];
                while let Ok(size @ 1..) = stream.read(&mut chunk).await {
                    let answer = [name.as_bytes(), b":", &chunk[..size]].concat();
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Echo {
        address,
        _tasks: tasks,
    }
}

/// Answers each datagram with `<name>:<datagram>`.
pub async fn udp(name: &'static str) -> Echo {
    udp_at("127.0.0.1:0", name).await
}

/// As [`udp`], at this address.
pub async fn udp_at(address: &str, name: &'static str) -> Echo {
    let socket = UdpSocket::bind(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut datagram = [0; 16 * 1024];
        while let Ok((size, from)) = socket.recv_from(&mut datagram).await {
            let answer = [name.as_bytes(), b":", &datagram[..size]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    Echo {
        address,
        _tasks: tasks,
    }
}
