//! One connection that stays open for the whole of a story, with a request every second: a listener that is drained
//! or replaced shows here, also where new connections are taken all the time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(5);

/// The connection was not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// It broke.
    #[error("the connection broke after {answers} answers: {source}")]
    Broken {
        /// Answers until then.
        answers: u64,
        /// Cause.
        source: io::Error,
    },
    /// An answer is not as it should be.
    #[error("after {answers} answers: {head}")]
    Answer {
        /// Answers until then.
        answers: u64,
        /// Head of the answer.
        head: String,
    },
    /// The thread broke.
    #[error("the worker broke")]
    Worker,
}

/// An open connection.
#[derive(Debug)]
pub struct Held {
    stop: Sender<()>,
    worker: JoinHandle<Result<u64, HeldError>>,
}

impl Held {
    /// Connects, and begins to ask.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(address: &str, port: u16, host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect((address, port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (stop, stopped) = mpsc::channel();
        let worker = thread::spawn(move || {
            let mut connection = BufReader::new(stream);
            let mut answers = 0;
            loop {
                ask(&mut connection, &request, answers)?;
                answers += 1;
                match stopped.recv_timeout(PAUSE) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(answers),
                }
            }
        });
        Ok(Self { stop, worker })
    }

    /// Ends it, and tells how many answers came over it.
    ///
    /// # Errors
    /// When it broke, an answer was not 200, or the other side announced that it closes.
    pub fn end(self) -> Result<u64, HeldError> {
        let Self { stop, worker } = self;
        drop(stop);
        worker.join().map_err(|_| HeldError::Worker)?
    }
}

fn ask(connection: &mut BufReader<TcpStream>, request: &str, answers: u64) -> Result<(), HeldError> {
    let broken = |source| HeldError::Broken { answers, source };
    connection
        .get_mut()
        .write_all(request.as_bytes())
        .map_err(broken)?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if connection.read_line(&mut head).map_err(broken)? == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok());
    let (true, false, Some(length)) = (
        lower.starts_with("http/1.1 200"),
        lower.contains("connection: close"),
        length,
    ) else {
        return Err(HeldError::Answer { answers, head });
    };
    let mut body = vec![0; length];
    connection.read_exact(&mut body).map_err(broken)
}
