//! From a TCP connection to one with a known peer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::ControlPlane;
use crate::cache::FleetKey;
use crate::identity::{self, IdentityError};
use crate::metrics::Live;

/// Out of file descriptors, usually: trying again at once would only burn the processor.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who is at the other end. Each request carries it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) fleet: Result<FleetKey, IdentityError>,
}

/// A connection that has passed its handshake.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _live: Live,
}

/// Accepts connections until `shutdown`. Handshakes run side by side, so that a slow client delays nobody.
pub(super) fn accept(
    listener: TcpListener,
    plane: &ControlPlane,
    shutdown: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(16);
    let plane = plane.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = accept_all(&listener, &plane, &sender) => {}
            () = shutdown.cancelled() => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn accept_all(
    listener: &TcpListener,
    plane: &ControlPlane,
    sender: &mpsc::Sender<io::Result<Connection>>,
) {
    let handshakes = Arc::new(Semaphore::new(plane.limits.handshakes));
    // The semaphore is never closed; if it were, accepting would end.
    while let Ok(permit) = handshakes.clone().acquire_owned().await {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept an xDS connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (plane, sender) = (plane.clone(), sender.clone());
        tokio::spawn(async move {
            match handshake(stream, address, &plane).await {
                // If nobody listens any more, the server is going down.
                Ok(connection) => drop(sender.send(Ok(connection)).await),
                Err(error) => {
                    plane.metrics.refused.with_label_values(&["tls_handshake"]).inc();
                    tracing::info!(%address, %error, "TLS handshake with an xDS client failed");
                }
            }
            drop(permit);
        });
    }
}

async fn handshake(stream: TcpStream, address: SocketAddr, plane: &ControlPlane) -> io::Result<Connection> {
    // Requests and responses are small and answer each other.
    stream.set_nodelay(true)?;
    let accepting = plane.tls.acceptor().accept(stream);
    let stream = tokio::time::timeout(plane.limits.handshake_timeout, accepting).await??;
    let fleet = identity::fleet_of(stream.get_ref().1.peer_certificates());
    Ok(Connection {
        stream,
        peer: Peer { address, fleet },
        _live: Live::new(&plane.metrics.connections),
    })
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
