//! A real Envoy, started from our bootstrap files. Its binary comes from `KUBELB_ENVOY_BIN`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use l4_xds::bootstrap::{BOOTSTRAP_FILE, BootstrapInput, files};
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::{Child, Command};

use super::control_plane::PATIENCE;
use super::pki::{Pair, SERVER_NAME};
use super::port;

pub struct Envoy {
    pub admin: u16,
    pub readiness: u16,
    directory: TempDir,
    log: NamedTempFile,
    child: Child,
    secrets: u32,
}

impl Envoy {
    /// Starts Envoy with this client certificate and trust in `ca`.
    pub async fn start(binary: &Path, control_plane: SocketAddr, client: &Pair, ca: &str) -> Self {
        Self::start_with(binary, control_plane, client, ca, |text| text).await
    }

    /// As [`Envoy::start`], with changed bootstrap files.
    pub async fn start_with(
        binary: &Path,
        control_plane: SocketAddr,
        client: &Pair,
        ca: &str,
        change: impl Fn(String) -> String,
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let (admin, readiness) = (free_port().await, free_port().await);
        let mut input = BootstrapInput::new(
            control_plane.ip().to_string(),
            port(control_plane.port()),
            SERVER_NAME.parse().unwrap(),
        );
        input.config_directory = directory.path().display().to_string();
        input.certificate_directory = directory.path().join("tls").display().to_string();
        (input.admin_port, input.readiness_port) = (admin, readiness);
        input.max_connections = std::num::NonZeroU64::new(1000);
        input.max_heap_bytes = std::num::NonZeroU64::new(1 << 30);
        for (name, text) in files(&input) {
            std::fs::write(directory.path().join(name), change(text)).unwrap();
        }
        make_secret(directory.path(), 0, client, ca);
        // Not in that directory: Envoy watches it, and at debug level it logs each write, which is a write.
        let log = NamedTempFile::new().unwrap();
        let child = Command::new(binary)
            .arg("-c")
            .arg(directory.path().join(BOOTSTRAP_FILE))
            .args([
                "--service-node",
                "some-pod",
                "--service-cluster",
                "some-fleet",
                "--use-dynamic-base-id",
            ])
            .args([
                "--concurrency",
                "1",
                "--drain-time-s",
                "600",
                "--log-level",
                "info",
            ])
            .stdin(Stdio::null())
            .stdout(log.reopen().unwrap())
            .stderr(log.reopen().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            admin,
            readiness,
            directory,
            log,
            child,
            secrets: 0,
        }
    }

    /// Replaces the certificates as the kubelet does: by swapping `..data`.
    pub fn replace_secret(&mut self, client: &Pair, ca: &str) {
        self.secrets += 1;
        make_secret(self.directory.path(), self.secrets, client, ca);
    }

    /// Body of a page of the admin interface; nothing if it does not answer.
    pub async fn admin(&self, path: &str) -> Option<String> {
        get(self.admin, path).await.map(|(_, body)| body)
    }

    /// The value of a counter or gauge.
    pub async fn stat(&self, name: &str) -> Option<u64> {
        let page = self.admin(&format!("/stats?filter=^{name}$")).await?;
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.trim().parse().ok())
    }

    /// Waits for something that only Envoy knows.
    pub async fn until<T>(&mut self, what: &str, mut probe: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe(self).await {
                return found;
            }
            let running = self.child.try_wait().unwrap().is_none();
            if !running || tokio::time::Instant::now() > deadline {
                panic!("waited in vain until {what} (Envoy is running: {running})");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_ready(&mut self) {
        let ready = async |envoy: &Self| {
            get(envoy.readiness, "/ready")
                .await
                .filter(|(status, _)| *status == 200)
        };
        self.until("Envoy is ready", async |envoy| ready(envoy).await)
            .await;
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
            // Envoy begins with long lists of what is compiled into it.
            let lists = ["server.cc:47", "server.cc:53"];
            let lines: Vec<_> = log
                .lines()
                .filter(|line| !lists.iter().any(|list| line.contains(list)))
                .collect();
            eprintln!("Envoy's log:\n{}", lines.join("\n"));
        }
    }
}

/// The mounted Secret, as the kubelet makes it.
pub fn make_secret(directory: &Path, number: u32, client: &Pair, ca: &str) {
    let mounted = directory.join("tls");
    let data = mounted.join(format!("..{number}"));
    std::fs::create_dir_all(&data).unwrap();
    let contents = [
        ("tls.crt", &*client.certificate),
        ("tls.key", &*client.key),
        ("ca.crt", ca),
    ];
    for (name, text) in contents {
        std::fs::write(data.join(name), text).unwrap();
        if number == 0 {
            symlink(Path::new("..data").join(name), mounted.join(name)).unwrap();
        }
    }
    symlink(format!("..{number}"), mounted.join("..data_tmp")).unwrap();
    std::fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
}

/// A port that nobody listens on. Somebody else may take it before it is used; rarely.
pub async fn free_port() -> u16 {
    // The kernel may offer a port again as soon as it is let go.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..100 {
        let listener = TcpListener::bind("[::]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
    panic!("of a hundred free ports each had been given out before");
}

/// A plain GET; nothing if nobody answers.
pub async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .ok()?
        .ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { whole(body)? } else { body.to_owned() };
    Some((status, body))
}

/// A body that came in chunks, each after its length.
fn whole(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..length)?);
        chunks = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// What a backend answers to `text` over an open connection; nothing if the connection is closed.
pub async fn talk(stream: &mut TcpStream, text: &str) -> Option<String> {
    stream.write_all(text.as_bytes()).await.ok()?;
    let mut answer = [0; 256];
    let reading = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer))
        .await
        .ok()?;
    let size = reading.ok().filter(|size| *size > 0)?;
    Some(String::from_utf8_lossy(&answer[..size]).into_owned())
}

/// What a backend answers over a new connection; nothing if there is no connection.
pub async fn ask_tcp(host: &str, port: u16, text: &str) -> Option<String> {
    talk(&mut TcpStream::connect((host, port)).await.ok()?, text).await
}

/// What a backend answers to a datagram; nothing if nothing comes back soon.
pub async fn ask_udp(port: u16, text: &[u8]) -> Option<Vec<u8>> {
    ask_udp_at("127.0.0.1", port, text).await
}

/// As [`ask_udp`], from and to this address.
pub async fn ask_udp_at(host: &str, port: u16, text: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((host, 0)).await.unwrap();
    socket.connect((host, port)).await.ok()?;
    socket.send(text).await.ok()?;
    let mut answer = vec![0; 16 * 1024];
    let receiving = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut answer))
        .await
        .ok()?;
    answer.truncate(receiving.ok()?);
    Some(answer)
}
